"""Per-sample tables [N, C] and their running column sums, in O(B C) a step whatever N is."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

SHARDS = 256  # a table that divides by it is summed shard by shard, on up to so many devices


class RunningSum(NamedTuple):
    """Column sums float [C] with the rounding error of the additions so far [C] (Kahan)."""

    value: jax.Array
    error: jax.Array


def init_sum(table: jax.Array) -> RunningSum:
    """Sum the columns of a table [N, C].

    In three stages, so that float32 does not drift with N. The first two stay within a shard, and none needs a copy of
    the table, as slices, padding and loops do.
    """
    table = jnp.pad(table, ((0, -table.shape[0] % SHARDS), (0, 0)))  # the trainer's tables divide already
    rows = max(table.shape[0] // SHARDS, 1)
    run = next(length for length in range(math.isqrt(rows), 0, -1) if rows % length == 0)
    value = table.reshape(SHARDS, -1, run, table.shape[1]).sum(2).sum(1).sum(0)
    return RunningSum(value, jnp.zeros_like(value))


def update_sum(total: RunningSum, delta: jax.Array) -> RunningSum:
    """Add delta [C]. Compensated: the error after T updates is that of the deltas, not of T large additions."""
    addend = delta - total.error
    value = total.value + addend
    return RunningSum(value, (value - total.value) - addend)


def last_occurrence(index: jax.Array) -> jax.Array:
    """True [B] where index [B] does not come again later in the batch: the writer that wins."""
    position = jnp.arange(index.shape[0])
    later = (index[:, None] == index[None, :]) & (position[None, :] > position[:, None])
    return ~later.any(1)


def write_rows(table: jax.Array, total: RunningSum, index: jax.Array, rows: jax.Array) -> tuple[jax.Array, RunningSum]:
    """Set table[index] = rows [B, C]; of duplicate indices the last in the batch wins. Sums stay exact.

    A row that does not change is not written. That makes the write wait for the read: where XLA can order the two
    freely, it copies the whole table first (seen on CPU; optimization_barrier does not help there).
    """
    old = table[index]
    wins = last_occurrence(index)
    delta = jnp.where(wins[:, None], rows - old, 0).sum(0)
    written = wins & (rows != old).any(1)
    target = jnp.where(written, index, table.shape[0])  # the others are written out of bounds, that is, dropped
    return table.at[target].set(rows, mode="drop"), update_sum(total, delta)
