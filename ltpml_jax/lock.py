"""One run a work directory."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from ltpml_jax.errors import UserError

FILE = ".lock"


@contextlib.contextmanager
def sole_run(workdir: Path) -> Iterator[None]:
    """Holds the work directory's lock; the kernel frees it when the process ends, however it ends.

    Raises UserError where another run holds it.
    """
    with open(workdir / FILE, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"Another run is at work in {workdir}; wait for its end, or give another --workdir."
            ) from None
        yield
