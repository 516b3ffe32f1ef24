"""SIGTERM, by which schedulers take a machine back, and Ctrl-C: the run saves what it has and ends with a status.

A signal belongs to the process, so which one came is the one thing that this package keeps outside of values.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from ltpml_jax.runtime import screen

_came: list[int] = []  # signals since `watched` began


class PreemptedError(Exception):
    """The run was asked to stop; what it had is saved.

    signal: which came first; SIGTERM where it came to another process. status: 128 + signal, as a shell reports it.
    """

    def __init__(self) -> None:
        """The signal is that of the moment: `watched` forgets it at its end."""
        self.signal = _came[0] if _came else signal.SIGTERM
        self.status = 128 + self.signal
        name = "Ctrl-C" if self.signal == signal.SIGINT else "SIGTERM"
        super().__init__(f"{name}: the run is saved; the same command resumes it.")


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """From here to the end of the block SIGTERM and SIGINT are remembered instead of ending the process.

    A second SIGINT ends it at once. Only the main thread can do that; a run in another one is left to its program.
    """
    _came.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _remember) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _came.clear()  # what follows in this process was not asked to stop


def asked() -> bool:
    """Whether one of the two signals came."""
    return bool(_came)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """A handler that ends the process: an exception that it raised instead could be lost in a callback of a library."""
    os.write(screen.descriptor(), b"Interrupted.\n")
    os._exit(128 + number)


def interrupt(number: int, frame: FrameType | None) -> None:
    """A handler that raises KeyboardInterrupt, for what removes its unfinished files; the next one ends at once."""
    signal.signal(number, end_at_once)
    raise KeyboardInterrupt


def _remember(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT and signal.SIGINT in _came:
        end_at_once(number, frame)
    _came.append(number)
