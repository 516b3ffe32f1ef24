"""Per-sample tables [N, ...]: a batch's rows out and in again, and running column sums; O(B C) a step whatever N is."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

SHARDS = 256  # a table that divides by it is summed shard by shard, on up to so many devices


def gather(tables: Any, index: jax.Array) -> Any:
    """Rows [B, ...] of every table [N, ...] in a pytree, for index int32 [B]."""
    return jax.tree.map(lambda table: table[index], tables)


def scatter(tables: Any, index: jax.Array, old: Any, new: Any, writes: jax.Array) -> Any:
    """The tables with table[index] = new [B, ...] where writes bool [B] is set; old: what `gather` gave.

    A row that does not change is not written. That makes the write wait for the read: where XLA can order the two
    freely, it copies the whole table first (seen on CPU; optimization_barrier does not help there).
    """

    def write(table: jax.Array, before: jax.Array, after: jax.Array) -> jax.Array:
        changed = writes & (before != after).reshape(len(index), -1).any(1)
        target = jnp.where(changed, index, table.shape[0])  # the others are written out of bounds, that is, dropped
        return table.at[target].set(after, mode="drop")

    return jax.tree.map(write, tables, old, new)


def last_occurrence(index: jax.Array) -> jax.Array:
    """True [B] where index [B] does not come again later in the batch: the writer that wins."""
    position = jnp.arange(index.shape[0])
    later = (index[:, None] == index[None, :]) & (position[None, :] > position[:, None])
    return ~later.any(1)


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


def update_sum(total: RunningSum, old: jax.Array, new: jax.Array, writes: jax.Array) -> RunningSum:
    """The sums after `scatter` has put the rows new [B, C] in place of old [B, C] where writes bool [B] is set.

    Compensated: the error after T updates is that of the changes, not of T large additions.
    """
    addend = jnp.where(writes[:, None], new - old, 0).sum(0) - total.error
    value = total.value + addend
    return RunningSum(value, (value - total.value) - addend)
