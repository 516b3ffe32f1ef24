"""Elementwise multi-label losses [B, C]; computed in float32 or wider whatever the logits' type."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ltpml_jax.priors import Prior


class DBParams(NamedTuple):
    """Settings of the Distribution-Balanced loss (Wu et al., ECCV 2020); names as in that paper."""

    init_bias: float
    neg_scale: float
    map_alpha: float
    map_beta: float
    map_theta: float


def class_bias(prior: Prior, params: DBParams) -> jax.Array:
    """Logit offset float [C] of the DB loss: -log(n / n_j - 1) * init_bias / neg_scale.

    Counts are kept within [1, n - 1/2]: an empty class, or one that every image has, stays finite.
    """
    count = _bounded(prior)
    return -jnp.log(prior.train_size / count - 1) * params.init_bias / params.neg_scale


def rebalancing_weight(labels: jax.Array, prior: Prior, params: DBParams) -> jax.Array:
    """DB re-balancing weight [B, C] of hard or soft labels [B, C]; an all-zero row weighs 1 + map_alpha."""
    inverse = 1 / _bounded(prior)
    repeat = (labels * inverse).sum(-1, keepdims=True)
    empty = repeat <= 0
    # The inner where keeps the division, and so its gradient, finite on rows that the outer one discards.
    ratio = inverse / jnp.where(empty, 1, repeat)
    weight = jax.nn.sigmoid(params.map_beta * (ratio - params.map_theta))
    return jnp.where(empty, 1, weight) + params.map_alpha


def db_focal(logits: jax.Array, labels: jax.Array, prior: Prior, params: DBParams) -> jax.Array:
    """Distribution-Balanced focal loss [B, C] of raw logits [B, C] against labels [B, C] in [0, 1].

    Bias, re-balancing weight and negative-tolerant scaling of the DB loss, then 2 (1 - exp(-bce))^2 * bce.
    """
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    logits, labels = logits.astype(dtype), labels.astype(dtype)
    weight = rebalancing_weight(labels, prior, params)
    scaled = (logits + class_bias(prior, params)) * (params.neg_scale * (1 - labels) + labels)
    bce = optax.sigmoid_binary_cross_entropy(scaled, labels)
    weight = weight * ((1 - labels) / params.neg_scale + labels)
    return 2 * jnp.square(jnp.expm1(-bce)) * weight * bce


def bce(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Plain binary cross-entropy [B, C] of raw logits [B, C] against labels [B, C] in [0, 1]."""
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    return optax.sigmoid_binary_cross_entropy(logits.astype(dtype), labels.astype(dtype))


def _bounded(prior: Prior) -> jax.Array:
    return jnp.clip(prior.class_count, 1, prior.train_size - 0.5)
