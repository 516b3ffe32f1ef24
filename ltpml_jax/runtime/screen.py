"""The screen is for sentences: what the C++ code of libraries prints goes to a file in the work directory.

Connections of Gloo, stacks of XLA, tracebacks of Orbax's threads: of use to who looks for a cause, but they bury the
sentence that names it. What Python prints, tracebacks of unexpected errors included, stays on the screen; those of
threads that libraries started go to the file.
"""

import contextlib
import faulthandler
import io
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FILE = "libraries.log"
PACKAGE = Path(__file__).parents[1]
_ERRORS = [2]  # the descriptor of the screen, last in the list, for those who write to it past Python's streams


def descriptor() -> int:
    """The file descriptor of the screen's errors: 2, or another while that is redirected."""
    return _ERRORS[-1]


@contextlib.contextmanager
def libraries_to(path: Path) -> Iterator[None]:
    """In the block, what is written to descriptors 1 and 2 is appended to a file; Python's streams stay as they are.

    The logs of libraries go to the file too, as their handlers hold the streams of before. Does nothing where those are
    not these descriptors, or the file cannot be written. All is as before after the block, an empty file or new folder
    is removed; but after an error tracebacks of threads keep going there: the process ends, and Orbax's with it.
    """
    ours = _descriptors((sys.stdout, sys.stderr)) == [1, 2]
    made = not path.parent.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1) if ours else None
    except OSError:
        log = None
    if log is None:
        yield
        return
    before, kept = (sys.stdout, sys.stderr), [os.dup(1), os.dup(2)]
    with log, contextlib.ExitStack() as stack:
        stack.callback(_restore, before, kept, path, made)
        if not logging.getLogger().handlers:  # a library's log without one would make one, of the new stream
            handler = logging.StreamHandler(log)
            logging.getLogger().addHandler(handler)
            stack.callback(logging.getLogger().removeHandler, handler)
        for stream, number in zip(before, (1, 2), strict=True):
            stream.flush()
            os.dup2(log.fileno(), number)
        _replace(*(_opened(one, stream) for one, stream in zip(kept, before, strict=True)))
        _ERRORS.append(kept[1])
        earlier, threading.excepthook = threading.excepthook, _to_file(path, threading.excepthook)
        if not faulthandler.is_enabled():  # a crash shall be seen, and without this it would not
            faulthandler.enable(sys.stderr)
            stack.callback(faulthandler.disable)
        yield
        threading.excepthook = earlier


def _to_file(path: Path, otherwise: Callable[[Any], object]) -> Callable[[Any], object]:
    """A threading.excepthook that appends tracebacks to a file; those with a line of this package go `otherwise`."""

    def write(found: Any) -> None:
        if any(frame.filename.startswith(str(PACKAGE)) for frame in traceback.extract_tb(found.exc_traceback)):
            otherwise(found)
            return
        with contextlib.suppress(OSError), path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exception(found.exc_type, found.exc_value, found.exc_traceback, file=file)

    return write


def _descriptors(streams: Any) -> list[int]:
    try:
        return [stream.fileno() for stream in streams]
    except (AttributeError, OSError, ValueError):  # of a test's capture, or of none
        return []


def _opened(number: int, like: Any) -> io.TextIOWrapper:
    """A stream to a descriptor, which prints each text at once."""
    raw = os.fdopen(number, "wb", 0, closefd=False)
    return io.TextIOWrapper(raw, encoding=like.encoding, errors=like.errors, write_through=True)  # type: ignore[arg-type]


def _replace(output: Any, errors: Any) -> None:
    """Make these sys.stdout and sys.stderr, also of the handlers of logs that hold the latter."""
    held = sys.stderr
    sys.stdout, sys.stderr = output, errors
    for handler in logging.getLogger("ltpml_jax").handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is held:
            handler.setStream(errors)


def _restore(before: tuple[Any, Any], kept: list[int], path: Path, made: bool) -> None:
    _ERRORS.pop()
    _replace(*before)
    for number, copy in zip((1, 2), kept, strict=True):
        os.dup2(copy, number)
        os.close(copy)
    with contextlib.suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()
            if made:
                path.parent.rmdir()
