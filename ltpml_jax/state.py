"""The training state: one pytree of arrays, which is also what a checkpoint holds; and where its arrays lie."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ltpml_jax.methods.base import Method
from ltpml_jax.methods.priors import Prior
from ltpml_jax.runtime.method_forms import check_tables

AXIS = "data"
ROW_MULTIPLE = 256  # tables are padded to this, so that their shape is the same on 1, 2, ... 256 devices


class TrainState(NamedTuple):
    """step int32 []; skipped int32 [], how many steps in a row up to now were not applied.

    key: uint32 [2], the base key; params: those that train; average: their decayed average (the same structure, or
    empty); rest: frozen ones and BatchNorm statistics; shared: what a method keeps for all images; rows: its tables
    [N, ...] with one row an image, padded.
    """

    step: jax.Array
    skipped: jax.Array
    key: jax.Array
    params: Any
    average: Any
    rest: Any
    opt_state: Any
    shared: Any
    rows: Any


def make_mesh(devices: list[Any]) -> Mesh:
    """A mesh with the one axis `data`."""
    return Mesh(np.asarray(devices), (AXIS,))


def padded(rows: int) -> int:
    """Rows of the state's tables for so many samples; those at the end belong to no image."""
    return rows + -rows % ROW_MULTIPLE


def init_state(
    params: Any, rest: Any, optimizer: optax.GradientTransformation, method: Method, states: jax.Array,
    prior: Prior, seed: int, averaged: bool = False,
) -> TrainState:  # fmt: skip
    """A fresh state; states int8 [N, C] of the training labels, padded with negatives; averaged: keep an average."""
    key = jax.random.key_data(jax.random.key(seed))
    average = jax.tree.map(jnp.copy, params) if averaged else {}  # a copy: the step donates both
    shared, rows = method.init(states, prior)
    check_tables(rows, len(states))
    return TrainState(jnp.int32(0), jnp.int32(0), key, params, average, rest, optimizer.init(params), shared, rows)


def evaluated(state: TrainState) -> Any:
    """The parameters that are evaluated: the average where one is kept."""
    return state.average if jax.tree.leaves(state.average) else state.params


def state_shardings(state: TrainState, mesh: Mesh) -> TrainState:
    """NamedShardings of a state (arrays or shapes): the method's tables by rows, the rest replicated."""
    replicated, by_row = everywhere(mesh), batch_sharding(mesh)
    shardings = jax.tree.map(lambda _: replicated, state)
    return shardings._replace(rows=jax.tree.map(lambda _: by_row, state.rows))


def everywhere(mesh: Mesh) -> NamedSharding:
    """Sharding of what every device holds whole."""
    return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Sharding of batches and tables: the first axis over all devices."""
    return NamedSharding(mesh, P(AXIS))


def own_part(mesh: Mesh, size: int) -> slice:
    """The places of a batch of `size` that lie on this process's devices."""
    parts = batch_sharding(mesh).addressable_devices_indices_map((size,)).values()
    bounds = [part[0].indices(size) for part in parts if part is not None]
    return slice(min(start for start, *_ in bounds), max(stop for _, stop, _ in bounds))
