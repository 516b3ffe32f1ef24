"""The first thing that the process of a command does, before it imports what takes long."""

import contextlib
import gc
import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from ltpml_jax.runtime import preemption

STAYING = 600_000  # objects; of imports and tracing a run of NDLP has 380,000 at its first step
USUAL = gc.get_threshold()  # of the process, before a command begins


@contextlib.contextmanager
def command() -> Iterator[None]:
    """`begin`, and after the command: an end without a traceback where what it prints cannot be written.

    Of a reader that is gone (`ltpml compare ... | head`), as other programs end by SIGPIPE; else with status 2 and a
    sentence. What standard output's encoding does not have is printed as an escape.
    """
    begin()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if not _lost():
            raise
        if not isinstance(error, BrokenPipeError):
            print(
                f"error: Standard output cannot be written ({error.strerror}); give it another place.", file=sys.stderr
            )
        sys.exit(128 + signal.SIGPIPE if isinstance(error, BrokenPipeError) else 2)


def _lost() -> bool:
    """Whether standard output is what failed, by one more line break to it; nothing more goes there then."""
    try:
        print(flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def begin() -> None:
    """Ctrl-C is one line from here on, and garbage is looked for only after STAYING objects, or on `collect_garbage`.

    What is imported and traced stays. To look through it every 700 objects, as Python does unless it is asked not to,
    is a tenth of the time to the first step.
    """
    warnings.filterwarnings("ignore", "Protobuf gencode version")  # of grain's messages, with protobuf 6
    signal.signal(signal.SIGINT, preemption.end_at_once)
    gc.callbacks.append(_afterwards)
    gc.set_threshold(STAYING, *USUAL[1:])


def _afterwards(phase: str, _: Any) -> None:
    """After the first time: leave out of all others what is there now, and look as often as usual."""
    if phase == "stop":
        gc.callbacks.remove(_afterwards)
        gc.freeze()
        gc.set_threshold(*USUAL)


def collect_garbage() -> None:
    """Look for garbage, if `begin` put it off: what stays is there, and from here on arrays may wait to be freed."""
    if _afterwards in gc.callbacks:
        gc.collect()
