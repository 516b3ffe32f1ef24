"""The first thing that the process of a command does, before it imports what takes long."""

import gc
import signal
from typing import Any

from ltpml_jax.runtime import preemption

STAYING = 200_000  # objects of imports and of tracing, of some 340,000 that a run has at its first step


def begin() -> None:
    """Ctrl-C is one line from here on, and garbage is looked for only after STAYING objects.

    What is imported and traced stays. To look through it every 700 objects, as Python does unless it is asked not to,
    is a twentieth of the time to the first step.
    """
    signal.signal(signal.SIGINT, preemption.end_at_once)
    usual = gc.get_threshold()

    def go_on(phase: str, _: Any) -> None:
        """After the first time: leave out of all others what is there now, and look as often as usual."""
        if phase == "stop":
            gc.callbacks.remove(go_on)
            gc.freeze()
            gc.set_threshold(*usual)

    gc.callbacks.append(go_on)
    gc.set_threshold(STAYING, *usual[1:])
