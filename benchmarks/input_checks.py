"""Whether the input keeps its memory, and whether it works while a step runs."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ltpml_jax.data.feed import AHEAD

EPOCHS = 5
STEPS = 50  # at most


def resident(process: str) -> float:
    """Megabytes of a process in memory."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS"))


def family() -> dict[str, float]:
    """Megabytes of this process ("self") and of every child, by process number."""
    children = [text for path in Path("/proc/self/task").glob("*/children") for text in path.read_text().split()]
    return {process: resident(process) for process in ["self", *sorted(children)]}


def memory(make: Callable[..., Any], steps: int) -> None:
    """Print the memory after each epoch of `steps` batches, read by threads and by worker processes."""
    for workers in (0, 2):
        iterator = iter(make(passes=EPOCHS, workers=workers))
        for epoch in range(EPOCHS):
            for _ in range(steps):
                next(iterator)
            shown = ", ".join(f"{process} {size:.0f}" for process, size in family().items())
            print(f"{workers} workers, epoch {epoch + 1}: MB {shown}", flush=True)
        iterator.close()


def overlap(make: Callable[..., Any], passes: int) -> None:
    """Print by how much input lengthens steps of twice the time that a batch takes."""
    start = time.perf_counter()
    batches = sum(1 for _ in make(passes=passes))
    length = 2 * (time.perf_counter() - start) / batches
    steps = min(STEPS, batches - 1)
    without, with_input = (run(make(passes=passes), length, steps, fed) for fed in (False, True))
    change = 100 * (with_input / without - 1)
    print(f"a step of {1e3 * without:.1f} ms takes {1e3 * with_input:.1f} ms with input: {change:+.1f}%")


def run(loader: Any, length: float, steps: int, fed: bool) -> float:
    """Seconds a step, in a loop as that of the trainer; without `fed`, all steps get the first batch."""

    def nap(step: np.ndarray) -> np.ndarray:  # a device that is busy for a known time, and leaves the CPU alone
        time.sleep(length)
        return step

    @jax.jit
    def advance(state: jax.Array, batch: dict[str, jax.Array]) -> jax.Array:
        pixel = batch["image"][0, 0, 0, 0].astype(np.float32)
        return jax.pure_callback(nap, jax.ShapeDtypeStruct((), np.float32), state + pixel)

    with contextlib.closing(iter(loader)) as iterator:
        batch = next(iterator)
        state = jax.block_until_ready(advance(np.float32(0), jax.device_put(batch)))  # compiles
        pending, start = [], time.perf_counter()
        for step in range(steps):
            batch = next(iterator) if fed else batch
            state = advance(state, jax.device_put(batch))
            pending.append(state)
            if step >= AHEAD:
                jax.block_until_ready(pending[step - AHEAD])
        jax.block_until_ready(state)
        return (time.perf_counter() - start) / steps
