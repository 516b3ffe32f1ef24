"""Time of NDLP's own work in a step against the number of training images: `python -m benchmarks.state_update`.

It is everything that a step does apart from the network and the guard against steps that are not finite: rows and
thresholds from the state, pseudo labels, loss, selection, label correction, running sums, class distribution, rows
written back. B = 32, C = 80. `full mean` is the same with fresh column sums over all rows in place of running sums.
`temp` is the scratch memory of the compiled program: the table is changed in place. `bytes` is XLA's own count, nominal
where rows are gathered or scattered: it charges the whole table for the 32 rows that are touched, which the times
contradict.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import machine
from ltpml_jax.data.labels import LabelState
from ltpml_jax.methods import rows
from ltpml_jax.methods.base import Plan
from ltpml_jax.methods.losses import DBSettings
from ltpml_jax.methods.ndlp import NDLPSettings, ndlp
from ltpml_jax.methods.priors import Prior
from ltpml_jax.state import TrainState, init_state, padded
from ltpml_jax.step import Recipe, make_context

BATCH, CLASSES, REPEATS = 32, 80, 300
SIZES = (1_000, 10_000, 100_000, 1_000_000)
SETTINGS, DB = NDLPSettings(gamma=2.0), DBSettings(neg_scale=2.0, map_theta=0.2)  # as published for COCO-MLT
METHOD = ndlp(SETTINGS, DB, Plan(epochs=10, batch_size=BATCH))
RECIPE = Recipe(lambda *_: None, optax.identity(), prepare=lambda key, images: images, steps_per_epoch=10**6)
Update = Callable[[TrainState, Mapping[str, Any]], TrainState]


def update(state: TrainState, batch: Mapping[str, Any]) -> TrainState:
    """One step's work on the state, with the network's logits in place of images."""
    context = make_context(RECIPE, state, dict(batch), batch["image"])
    _, (carry, _) = METHOD.passes[0].loss(lambda images, mask, key: (images, None), context, None)
    context = context._replace(writes=rows.last_occurrence(batch["index"]))
    shared, new, _ = METHOD.update(context, carry)
    table = rows.scatter(state.rows, batch["index"], context.rows, new, context.writes)
    return state._replace(shared=shared, rows=table)


def update_with_full_mean(state: TrainState, batch: Mapping[str, Any]) -> TrainState:
    """The same, with column sums taken afresh over all rows."""
    return update(state._replace(shared=state.shared._replace(column_sum=rows.init_sum(state.rows))), batch)


def initial(size: int) -> TrainState:
    """A state of `size` images, with about a tenth of the classes as candidates."""
    candidates = jax.random.bernoulli(jax.random.key(1), 0.1, (padded(size), CLASSES))
    states = jnp.where(candidates, LabelState.CANDIDATE, LabelState.NEGATIVE).astype(jnp.int8)
    prior = Prior(jnp.full(CLASSES, size / 20), jnp.float32(size))
    return init_state({}, {}, RECIPE.optimizer, METHOD, states, prior, seed=0)


def random_batch(rng: np.random.Generator, size: int, batch: int) -> dict[str, np.ndarray]:
    """Logits in place of images, and labels as in `initial`, for random ones of `size` images."""
    index = rng.integers(0, size, batch, dtype=np.int32)
    candidates = rng.random((batch, CLASSES)) < 0.1
    logits = rng.normal(size=(batch, CLASSES)).astype(np.float32)
    return {"image": logits, "index": index, "states": (LabelState.CANDIDATE * candidates).astype(np.int8)}


def measure(function: Update, size: int, repeats: int) -> tuple[float, dict[str, Any]]:
    """Median microseconds of a compiled, donated call, and XLA's cost analysis of it."""
    rng, state = np.random.default_rng(0), jax.jit(initial, static_argnums=0)(size)
    batches = [jax.device_put(random_batch(rng, size, BATCH)) for _ in range(repeats)]
    compiled = jax.jit(function, donate_argnums=0).lower(state, batches[0]).compile()
    seconds = []
    for batch in batches:
        start = time.perf_counter()
        state = jax.block_until_ready(compiled(state, batch))
        seconds.append(time.perf_counter() - start)
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    assert memory and cost  # every XLA backend has both
    return 1e6 * float(np.median(seconds)), cost | {"temp": memory.temp_size_in_bytes}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(machine.load_note(busy_too=True))  # every size is measured in this process, under the same load
    columns = ("us/step", "ratio", "flops", "temp", "bytes", "full mean us", "flops", "bytes")
    print(f"{'N':>9}" + "".join(f"{name:>13}" for name in columns))
    first = None
    for size in SIZES:
        time_us, cost = measure(update, size, REPEATS)
        full_us, full = measure(update_with_full_mean, size, REPEATS // 10)
        first = first or time_us
        counts = [cost[name] for name in ("flops", "temp", "bytes accessed")]
        text = [f"{value:>13.0f}" for value in (time_us, *counts, full_us, full["flops"], full["bytes accessed"])]
        print(f"{size:>9}" + "".join([text[0], f"{time_us / first:>13.2f}", *text[1:]]), flush=True)


if __name__ == "__main__":
    main()
