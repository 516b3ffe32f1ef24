"""SIGTERM, by which schedulers take a machine back: the run saves what it has and ends with a status of its own.

A signal belongs to the process, so whether it came is the one thing that this package keeps outside of values.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator

EXIT_STATUS = 128 + signal.SIGTERM  # what a shell reports of a process that SIGTERM ended
_came = threading.Event()


class PreemptedError(Exception):
    """The run was asked to stop; what it had is saved."""


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """From here to the end of the block SIGTERM is remembered instead of ending the process.

    Only the main thread can do that; a run in another one is left to its program.
    """
    _came.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: _came.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _came.clear()  # what follows in this process was not asked to stop


def asked() -> bool:
    """Whether SIGTERM came."""
    return _came.is_set()
