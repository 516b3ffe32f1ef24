"""Locks on files; the kernel frees one when its process ends, however it ends."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from ltpml_jax.errors import UserError

FILE = ".lock"


@contextlib.contextmanager
def held(path: Path, wait: bool) -> Iterator[None]:
    """Holds an exclusive lock on the file, which is made where it is missing.

    Raises OSError where the file cannot be written, and its BlockingIOError where another process holds the lock and
    `wait` is False.
    """
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@contextlib.contextmanager
def sole_run(workdir: Path) -> Iterator[None]:
    """Holds the work directory's lock; UserError where another run holds it."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held(workdir / FILE, wait=False))
        except BlockingIOError:
            raise UserError(
                f"Another run is at work in {workdir}; wait for its end, or give another --workdir."
            ) from None
        yield
