"""Time limits: a hang, of this process or of another that it waits for, becomes an error that names who is silent.

A process has one watchdog, as it has one main thread. The main thread tells what it gets done (`beat`); threads beside
it write that to a file for the other processes (heartbeats.py), and end the process where a limit is exceeded. The
beats are the same in all processes, in number and order: whoever has fewer is behind.
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from ltpml_jax.errors import SharedError, UserError
from ltpml_jax.runtime import heartbeats
from ltpml_jax.runtime.heartbeats import ENDED, FAILED, GAVE_UP, RUNNING, Look, Sign
from ltpml_jax.runtime.preemption import PreemptedError

EXIT_STATUS = os.EX_TEMPFAIL  # 75: nothing that a person has to mend; launchers may start the run again
REMEDY = "look at its log and its host; the same command goes on from the newest checkpoint"
_watch: "_Watch | None" = None


@contextlib.contextmanager
def watching(workdir: Path, process: int, processes: int, start_limit: float, step_limit: float) -> Iterator[None]:
    """In the block, process number `process` of `processes` ends with status 75 where it exceeds a limit.

    Limits in seconds, 0 for none: until `started`, and after it from one `beat` to the next. Time in which this
    process was suspended does not count.
    """
    global _watch
    if not (start_limit or step_limit):
        yield
        return
    outer = None if _watch is None or _watch.over.is_set() else _watch
    _watch = watch = _Watch(workdir / heartbeats.FOLDER, process, processes, start_limit, step_limit)
    try:
        yield
    except (PreemptedError, SystemExit, SharedError):
        _watch = outer
        watch.leave()
        raise
    except BaseException as error:
        watch.fail(error)  # and stays, for whoever handles the error to ask whose fault it is
        raise
    else:
        _watch = outer
        watch.leave()


def beat(what: str) -> None:
    """Tell that `what` is done; costs next to nothing."""
    if _watch is not None:
        _watch.done = (_watch.done[0] + 1, what)


def started() -> None:
    """Tell that the start is over: everything is loaded, joined and compiled, and the step limit holds."""
    if _watch is not None and not _watch.running:
        beat("start")
        _watch.running = True


def blame() -> str:
    """Which process holds the run up or is gone, a clause for people; takes some seconds.

    Also after a `watching` that an error ended.
    """
    if _watch is None:
        return "which process is not known, as nothing watches them (config.train.start_limit, config.train.step_limit)"
    _watch.claim()
    return _watch.ask()[0]


def give_up(cause: str) -> NoReturn:
    """Print `error: CAUSE: ` with the process to blame, and end this one with status 75 at once.

    For when the other processes cannot be reached any more: an ordinary exit would wait for them.
    """
    if _watch is not None and not _watch.claim():
        time.sleep(60)  # one of our threads is about to print, and to end the process
    _end(f"{cause}: {blame()}; {REMEDY}.")


class _Watch:
    """One block's state; `done` is (beats, the last of them) in one, so that threads see both or neither."""

    def __init__(self, folder: Path, process: int, processes: int, start_limit: float, step_limit: float) -> None:
        self.folder, self.process, self.processes = folder, process, processes
        self.limits = {False: start_limit, True: step_limit}
        self.shortest = min(limit for limit in (start_limit, step_limit) if limit)
        # No file system gets more than 100 writes a second, however many the processes.
        self.interval = min(max(self.shortest / 10, 0.25), max(2.0, processes / 100))
        self.done, self.running, self.state, self.reason = (0, "the start"), False, RUNNING, ""
        self.idle, self.serial = 0.0, 0
        self.over, self.claimed, self.writing = threading.Event(), threading.Lock(), threading.Lock()
        self.before = heartbeats.read(folder) if processes > 1 else {}
        self.abort = _AbortHandler(self) if processes > 1 else None
        for target in (self._count, self._write_often) if processes > 1 else (self._count,):
            threading.Thread(target=target, daemon=True, name=f"watchdog{target.__name__}").start()

    def leave(self) -> None:
        """End the threads and remove the file."""
        self.over.set()
        if self.abort is not None:
            self.abort.remove()
            self._in_file(self._remove)

    def fail(self, error: BaseException) -> None:
        """End the threads; the file stays and tells the others what the error was."""
        self.over.set()
        self.reason = str(error) or type(error).__name__
        if self.state == RUNNING:
            self.state = ENDED if isinstance(error, UserError) else FAILED
        if self.abort is not None:
            self._in_file(self._write)

    def claim(self) -> bool:
        """Whether the caller is the first who wants to end this process, and so the one who tells why."""
        return self.claimed.acquire(blocking=False)

    def ask(self) -> tuple[str, bool]:
        """(who holds the run up, whether that is anybody), also where the file system hangs too."""
        answer: list[tuple[str, bool]] = []
        patience = 2 * self.interval + 2
        asking = threading.Thread(target=lambda: answer.append(self._look(patience)), daemon=True)
        asking.start()
        asking.join(patience + 10)
        return answer[0] if answer else (f"{self.folder} cannot be read within {patience + 10:.0f} s either", False)

    def _look(self, patience: float) -> tuple[str, bool]:
        until, first = time.monotonic() + patience, heartbeats.read(self.folder)
        look = Look(self._sign(), self.processes, self.before, first, first)
        while look.silent() and time.monotonic() < until:
            time.sleep(self.interval / 2)
            look = look._replace(own=self._sign(), later=heartbeats.read(self.folder))
        if self.state == RUNNING or look.others_to_blame():
            self.state = GAVE_UP  # what happens in this process is no fault of its own
            self._in_file(self._write)
        complaint = look.complaint()
        nobody = f"all {self.processes} processes answer and none is behind; this one is {look.position()}"
        return complaint or nobody, bool(complaint)

    def _count(self) -> None:
        """Adds up the time since the last beat, and ends the process where it is too long."""
        tick, total, seen, then = self.interval / 2, 0.0, self.done, time.monotonic()
        while not self.over.wait(tick):
            now = time.monotonic()
            passed, then = min(now - then, 2 * tick), now  # more than that, we were suspended
            total, self.idle = total + passed, self.idle + passed
            if self.done != seen:
                seen, self.idle = self.done, 0.0
            limit, waited = self.limits[self.running], self.idle if self.running else total
            if limit and waited > limit and self.claim():
                self._conclude(limit, seen)
                self.claimed.release()

    def _conclude(self, limit: float, seen: tuple[int, str]) -> None:
        """Tell who is to blame and end the process; returns only where it came back to life meanwhile."""
        name = "config.train.step_limit" if self.running else "config.train.start_limit"
        what = "nothing was finished for" if self.running else "the run did not start within"
        if self.processes == 1:
            last = f"the last thing done was {seen[1]!r}" if seen[0] else "nothing was done at all"
            _end(f"{what} {limit:g} s ({name}): {last}; the same command goes on from the newest checkpoint.")
        found, _ = self.ask()
        if self.over.is_set() or (self.running and self.done != seen):
            self.state = RUNNING
            return
        _end(f"{what} {limit:g} s ({name}): {found}; {REMEDY}.")

    def _sign(self) -> Sign:
        beats, what = self.done
        host, pid = socket.gethostname(), os.getpid()
        return Sign(self.process, host, pid, self.serial, beats, what, self.idle, self.state, self.reason)

    def _write(self) -> None:
        self.serial += 1
        heartbeats.write(self.folder, self._sign())

    def _remove(self) -> None:
        heartbeats.path_of(self.folder, self.process).unlink(missing_ok=True)
        self.folder.rmdir()

    def _in_file(self, action: Callable[[], None]) -> None:
        """Write or remove the file, one thread at a time. If that fails the others say that we are silent."""
        if self.writing.acquire(timeout=10):  # another thread may wait for a file system that hangs
            with contextlib.suppress(OSError):
                action()
            self.writing.release()

    def _write_often(self) -> None:
        while not self.over.is_set():
            self._in_file(lambda: None if self.over.is_set() else self._write())
            self.over.wait(self.interval)


class _AbortHandler:
    """Takes SIGABRT of JAX's own threads, which end the process as soon as process 0 is gone and do not know why.

    A handler of Python's would only run after the abort, so this one is C's. It passes on what it cannot explain.
    """

    def __init__(self, watch: _Watch) -> None:
        self.watch, self.libc = watch, ctypes.CDLL(None)
        self.libc.signal.restype, self.libc.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
        self.function = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._handle)
        self.previous = self.libc.signal(signal.SIGABRT, ctypes.cast(self.function, ctypes.c_void_p))

    def remove(self) -> None:
        """Put the previous handler back."""
        self.libc.signal(signal.SIGABRT, self.previous)

    def _handle(self, number: int) -> None:
        if threading.get_ident() != threading.main_thread().ident:
            if not self.watch.claim():
                time.sleep(60)  # another thread is about to print, and to end the process
            found, somebody = self.watch.ask()
            if somebody:
                _end(f"the processes have lost each other: {found}; {REMEDY}.")
        self.remove()


def _end(sentence: str) -> NoReturn:
    """Print the sentence and end the process from any thread, whatever the main thread holds or waits for."""
    line_end = "\n" if os.isatty(2) else ""  # a terminal may stand in the middle of the progress line
    os.write(2, f"{line_end}error: {sentence[0].upper()}{sentence[1:]}\n".encode())
    for worker in multiprocessing.active_children():  # of the input, which would outlive us
        worker.kill()
    os._exit(EXIT_STATUS)
