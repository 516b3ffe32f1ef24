"""Time of NDLP's own work in a step against the number of training images: `python -m benchmarks.state_update`.

Measures everything a step does apart from the network: rows and thresholds from the state, pseudo labels, loss,
selection, label correction, running sums, class distribution. B = 32, C = 80. `full mean` is the same with fresh
column sums over all rows in place of running sums. `temp` is the scratch memory of the compiled program: the table is
changed in place. `bytes` is XLA's own count, nominal where rows are gathered or scattered: it charges the whole table
for the 32 rows that are touched, which the times contradict.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from ltpml_jax.methods import tables
from ltpml_jax.methods.base import Context, Keys
from ltpml_jax.methods.losses import DBParams
from ltpml_jax.methods.ndlp import NDLPParams, NDLPState, ndlp
from ltpml_jax.methods.priors import Prior

BATCH, CLASSES, REPEATS = 32, 80, 300
SIZES = (1_000, 10_000, 100_000, 1_000_000)
PARAMS = NDLPParams(DBParams(0.05, 2.0, 0.1, 10.0, 0.2), 2.0, (0.4, 0.8), 0.9, 0.1, 4.0, 10, True, True, True, True)
METHOD = ndlp(PARAMS)


def update(state: NDLPState, index: jax.Array, label: jax.Array, logits: jax.Array) -> NDLPState:
    """One step's work on the state, with the network's logits given."""
    key = jax.random.key(0)
    context = Context(logits, index, label, jnp.int32(0), Keys(key, key, key), state)
    _, (carry, _) = METHOD.passes[0].run(lambda images, mask, key: (logits, None), context, None)
    return METHOD.update(context, carry)[0]


def update_with_full_mean(state: NDLPState, *batch: jax.Array) -> NDLPState:
    """The same, with column sums taken afresh over all rows."""
    return update(state._replace(column_sum=tables.init_sum(state.confidence)), *batch)


def initial(size: int) -> NDLPState:
    """A state of `size` images with about a tenth of the classes as candidates."""

    def build(key: jax.Array) -> NDLPState:
        candidates = jax.random.bernoulli(key, 0.1, (size, CLASSES))
        return METHOD.init(candidates, Prior(jnp.full(CLASSES, size / 20), jnp.float32(size)))

    return jax.jit(build)(jax.random.key(1))


def batches(size: int) -> list[tuple[jax.Array, jax.Array, jax.Array]]:
    rng = np.random.default_rng(0)
    served = []
    for _ in range(REPEATS):
        index = jnp.asarray(rng.integers(0, size, BATCH, dtype=np.int32))
        label = jnp.asarray((rng.random((BATCH, CLASSES)) < 0.1).astype(np.float32))
        served.append((index, label, jnp.asarray(rng.normal(size=(BATCH, CLASSES)).astype(np.float32))))
    return served


def measure(function, size: int, repeats: int) -> tuple[float, dict[str, float]]:
    """Median microseconds of a compiled, donated call, and XLA's cost analysis of it."""
    state, served = initial(size), batches(size)[:repeats]
    compiled = jax.jit(function, donate_argnums=0).lower(state, *served[0]).compile()
    seconds = []
    for batch in served:
        start = time.perf_counter()
        state = jax.block_until_ready(compiled(state, *batch))
        seconds.append(time.perf_counter() - start)
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    assert memory and cost  # every XLA backend has both
    return 1e6 * float(np.median(seconds)), cost | {"temp": memory.temp_size_in_bytes}


def main() -> None:
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
