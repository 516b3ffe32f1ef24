"""Files that other processes see whole or not at all, and locks that end with the process that holds them."""

import contextlib
import csv
import errno
import io
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from etils import epath
from filelock import Timeout, UnixFileLock

from ltpml_jax.errors import UserError

AnyPath = TypeVar("AnyPath", Path, epath.Path)
LOCK = ".lock"  # the name of a folder's lock file, which stays there


def cache_home() -> Path:
    """Where this package keeps what it can make or fetch again: $XDG_CACHE_HOME/ltpml_jax, or ~/.cache/ltpml_jax."""
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ltpml_jax"


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path, with the home of ~ and of ~USER; a name that only begins like that (~draft.png) stays as it is."""
    return Path(os.path.expanduser(path))


def csv_line(cells: Iterable[object]) -> str:
    """A row of a CSV file, with its line break; cells that hold one of any kind are in quotes."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)  # what is part of that it puts in quotes
    return buffer.getvalue().removesuffix("\r\n") + "\n"


@contextlib.contextmanager
def replacing(path: AnyPath) -> Iterator[AnyPath]:
    """Yield a path beside `path` to write to; at the end of the block that file takes the place of `path`.

    `path` stays as it is where the block raises, or leaves no file there.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield scratch
        if scratch.exists():
            scratch.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise


def write_atomic(path: AnyPath, data: str | bytes) -> None:
    """Write a file whole or not at all, text as UTF-8; OSError where that cannot be."""
    with replacing(path) as scratch:
        scratch.write_bytes(data.encode() if isinstance(data, str) else data)


def check_new(path: Path | epath.Path) -> None:
    """UserError where there is a file, or anything else, at `path` already."""
    if path.exists():
        raise UserError(f"The file {path} exists; remove it, or give another --out.")


def check_regular(path: str | os.PathLike[str]) -> None:
    """OSError where there is no file, or no regular one: /dev/zero never ends, and a pipe may never begin."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")


@contextlib.contextmanager
def writing(what: object, remedy: str = "make room there, and try again") -> Iterator[None]:
    """An OSError in the block becomes the UserError that `what`, mostly a path, cannot be written, and the remedy."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{what} cannot be written ({error.strerror or error}); {remedy}.") from None


def lock(path: Path, wait: bool) -> UnixFileLock:
    """An exclusive lock on a file, to be held by `with`; the kernel frees it however its process ends.

    Entering raises filelock.Timeout, an OSError, where another process holds it and `wait` is False; other OSErrors
    where the file cannot be written or its file system has no locks.
    """
    return UnixFileLock(path, blocking=wait, fallback_to_soft=False)  # a soft lock would outlive a killed process


@contextlib.contextmanager
def sole_run(workdir: Path) -> Iterator[None]:
    """Hold the work directory's lock in the block; UserError where another run holds it."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock(workdir / LOCK, wait=False))
        except Timeout:
            raise UserError(
                f"Another run is at work in {workdir}; wait for its end, or give another --workdir."
            ) from None
        except OSError as error:
            raise UserError(f"{workdir / LOCK} cannot be locked ({error.strerror}); give another --workdir.") from None
        yield
