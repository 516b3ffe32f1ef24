"""Per-sample tables [N, C] and their running column sums, in O(B C) a step whatever N is."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

CHUNK = 1024  # rows summed in one run: keeps a float32 sum over millions of rows to a few 1e-7 relative


class RunningSum(NamedTuple):
    """Column sums float [C] with the rounding error of the additions so far [C] (Kahan)."""

    value: jax.Array
    error: jax.Array


def init_sum(table: jax.Array) -> RunningSum:
    """Sum the columns of a table [N, C], in runs of rows so that float32 does not drift with N."""
    padded = jnp.pad(table, ((0, -table.shape[0] % CHUNK), (0, 0)))
    value = padded.reshape(-1, CHUNK, table.shape[1]).sum(1).sum(0)
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
