"""What methods with two networks share: selection by rank, the schedule of the forget rate, and the ensemble.

Both networks (`blocks.pair()`) see the same batch under the same augmentation; their heads start differently, and each
has dropout of its own. One optimiser holds the parameters of both. SGD and Adam act on every parameter by itself, so
that equals two separate optimisers, with one exception: `optim.clip_norm` clips by the norm over both networks.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp


def smallest(values: jax.Array, among: jax.Array, count: jax.Array | int) -> jax.Array:
    """Bool like `values`: the `count` smallest entries of those in `among` (bool, same shape), over the whole array.

    Of equal values the one with the lower flat index comes first. The array is that of the global batch, so the ranking
    is the same on any number of devices. Nothing of it is differentiated.
    """
    ranked = jnp.where(among, jax.lax.stop_gradient(values), jnp.inf).ravel()
    order = jnp.argsort(ranked, stable=True)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(order.size, dtype=order.dtype))
    return among & (rank < count).reshape(values.shape)


def remaining(total: jax.Array | int, removed: jax.Array | float) -> jax.Array:
    """floor((1 - removed) * total), float []: how many of `total` are left without the share `removed` in [0, 1).

    Written as total - ceil(removed * total), which float32 holds for totals of millions. A product that rounding puts
    just beside a whole number counts as that number.
    """
    product = jnp.asarray(removed, jnp.result_type(float)) * total
    return total - jnp.ceil(product - jnp.maximum(1e-6, 4 * jnp.finfo(product.dtype).eps * product))


def mean_probability(first: jax.Array, second: jax.Array) -> jax.Array:
    """Logits [B, C] of the mean of two probabilities, given their logits [B, C]; finite for logits of any size."""
    present = jnp.logaddexp(jax.nn.log_sigmoid(first), jax.nn.log_sigmoid(second))
    absent = jnp.logaddexp(jax.nn.log_sigmoid(-first), jax.nn.log_sigmoid(-second))
    return present - absent


PREDICTIONS: Mapping[str, Callable[[Any], jax.Array]] = {
    "ensemble": lambda outputs: mean_probability(*outputs),
    "first": lambda outputs: outputs[0],
    "second": lambda outputs: outputs[1],
}
