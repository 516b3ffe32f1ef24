"""The training state: one pytree of arrays, which is also what a checkpoint holds."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ltpml_jax.methods.base import Method
from ltpml_jax.priors import Prior

AXIS = "data"
ROW_MULTIPLE = 256  # tables are padded to this, so that their shape is the same on 1, 2, ... 256 devices


class TrainState(NamedTuple):
    """step int32 []; skipped int32 [], how many steps in a row up to now were not applied.

    key: uint32 [2], the base key; params: those that train; rest: frozen ones and BatchNorm statistics.
    """

    step: jax.Array
    skipped: jax.Array
    key: jax.Array
    params: Any
    rest: Any
    opt_state: Any
    method: Any


def make_mesh(devices: list[Any]) -> Mesh:
    """A mesh with the one axis `data`."""
    return Mesh(np.asarray(devices), (AXIS,))


def padded(rows: int) -> int:
    """Rows of the state's tables for so many samples; those at the end stay zero."""
    return rows + -rows % ROW_MULTIPLE


def init_state(
    params: Any, rest: Any, optimizer: optax.GradientTransformation, method: Method, labels: jax.Array,
    prior: Prior, seed: int,
) -> TrainState:  # fmt: skip
    """A fresh state; labels [N, C] are the candidate sets, padded with zero rows."""
    key = jax.random.key_data(jax.random.key(seed))
    return TrainState(jnp.int32(0), jnp.int32(0), key, params, rest, optimizer.init(params), method.init(labels, prior))


def state_shardings(state: TrainState, method: Method, mesh: Mesh) -> TrainState:
    """NamedShardings of a state (arrays or shapes): the method's per-sample tables by rows, the rest replicated."""
    everywhere, by_row = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXIS))
    shardings = jax.tree.map(lambda _: everywhere, state)
    if not method.rows:
        return shardings
    return shardings._replace(method=shardings.method._replace(**dict.fromkeys(method.rows, by_row)))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Sharding of batches: the first axis over all devices."""
    return NamedSharding(mesh, P(AXIS))


def own_part(mesh: Mesh, size: int) -> slice:
    """The places of a batch of `size` that lie on this process's devices."""
    parts = batch_sharding(mesh).addressable_devices_indices_map((size,)).values()
    bounds = [part[0].indices(size) for part in parts if part is not None]
    return slice(min(start for start, *_ in bounds), max(stop for _, stop, _ in bounds))
