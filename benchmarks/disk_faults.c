/* Preloaded into a run: below the folder FAULTS_UNDER, writing calls fail with a probability, or take their time.
 *
 * FAULTS_RATE: probability; FAULTS_SEED; FAULTS_DELAY: microseconds of every such call; FAULTS_ERRNO: the error.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_ulong calls;

static double number(const char *name) {
    const char *text = getenv(name);
    return text ? atof(text) : 0;
}

/* The same for the same seed and number of the call (splitmix64). */
static double draw(void) {
    uint64_t z = (uint64_t)number("FAULTS_SEED") * 0x9e3779b97f4a7c15u + atomic_fetch_add(&calls, 1);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) / (double)(1ull << 53);
}

static int fails(const char *path) {
    const char *under = getenv("FAULTS_UNDER");
    if (!under || !path || strncmp(path, under, strlen(under)) != 0) return 0;
    usleep((useconds_t)number("FAULTS_DELAY"));
    if (draw() >= number("FAULTS_RATE")) return 0;
    errno = (int)number("FAULTS_ERRNO");
    return 1;
}

static int fails_file(int file) {
    char link[64], path[PATH_MAX];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0) return 0;
    path[length] = 0;
    return fails(path);
}

#define REAL(name, type, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

ssize_t write(int file, const void *data, size_t size) {
    return fails_file(file) ? -1 : REAL("write", ssize_t, int, const void *, size_t)(file, data, size);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    return fails_file(file) ? -1 : REAL("pwrite", ssize_t, int, const void *, size_t, off_t)(file, data, size, at);
}
ssize_t pwrite64(int file, const void *data, size_t size, off_t at) {
    return fails_file(file) ? -1 : REAL("pwrite64", ssize_t, int, const void *, size_t, off_t)(file, data, size, at);
}
int fsync(int file) { return fails_file(file) ? -1 : REAL("fsync", int, int)(file); }
int fdatasync(int file) { return fails_file(file) ? -1 : REAL("fdatasync", int, int)(file); }
int rename(const char *from, const char *to) {
    return fails(to) ? -1 : REAL("rename", int, const char *, const char *)(from, to);
}
int mkdir(const char *path, mode_t mode) {
    return fails(path) ? -1 : REAL("mkdir", int, const char *, mode_t)(path, mode);
}
