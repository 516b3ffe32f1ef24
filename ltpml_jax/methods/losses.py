"""Elementwise multi-label losses [B, C]; computed in float32 or wider whatever the logits' type."""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ltpml_jax.methods.priors import Prior
from ltpml_jax.methods.settings import FINITE, above


class DBSettings(NamedTuple):
    """Settings of the Distribution-Balanced loss (Wu et al., ECCV 2020); names as in that paper."""

    init_bias: Annotated[float, FINITE, "scale of the logit offset of rare classes"] = 0.05
    neg_scale: Annotated[float, above(0), "negative tolerance; 5 for VOC, 2 for COCO and NUS-WIDE"] = 5.0
    map_alpha: Annotated[float, FINITE, "floor of the re-balancing weight"] = 0.1
    map_beta: Annotated[float, FINITE, "steepness of the re-balancing weight"] = 10.0
    map_theta: Annotated[float, FINITE, "centre of the re-balancing weight; 0.3 for VOC, 0.2 for COCO, NUS-WIDE"] = 0.3


def class_bias(prior: Prior, settings: DBSettings) -> jax.Array:
    """Logit offset float [C] of the DB loss: -log(n / n_j - 1) * init_bias / neg_scale.

    Counts are kept within [1, n - 1/2]: an empty class, or one that every image has, stays finite.
    """
    count = _bounded(prior)
    return -jnp.log(prior.train_size / count - 1) * settings.init_bias / settings.neg_scale


def rebalancing_weight(labels: jax.Array, prior: Prior, settings: DBSettings) -> jax.Array:
    """DB re-balancing weight [B, C] of hard or soft labels [B, C]; an all-zero row weighs 1 + map_alpha."""
    inverse = (1 / _bounded(prior))[None]
    repeat = (labels * inverse).sum(-1, keepdims=True)
    empty = repeat <= 0
    # The inner where keeps the division, and so its gradient, finite on rows that the outer one discards.
    ratio = inverse / jnp.where(empty, 1, repeat)
    weight = jax.nn.sigmoid(settings.map_beta * (ratio - settings.map_theta))
    return jnp.where(empty, 1, weight) + settings.map_alpha


def db_focal(logits: jax.Array, labels: jax.Array, prior: Prior, settings: DBSettings) -> jax.Array:
    """Distribution-Balanced focal loss [B, C] of raw logits [B, C] against labels [B, C] in [0, 1].

    Bias, re-balancing weight and negative-tolerant scaling of the DB loss, then 2 (1 - exp(-bce))^2 * bce.
    """
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    logits, labels = logits.astype(dtype), labels.astype(dtype)
    weight = rebalancing_weight(labels, prior, settings)
    scaled = (logits + class_bias(prior, settings)[None]) * (settings.neg_scale * (1 - labels) + labels)
    bce = optax.sigmoid_binary_cross_entropy(scaled, labels)
    weight = weight * ((1 - labels) / settings.neg_scale + labels)
    return 2 * jnp.square(jnp.expm1(-bce)) * weight * bce


def bce(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Plain binary cross-entropy [B, C] of raw logits [B, C] against labels [B, C] in [0, 1]."""
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    return optax.sigmoid_binary_cross_entropy(logits.astype(dtype), labels.astype(dtype))


def focal_comic(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Focal loss [B, C] in COMIC's convention: 0.25 (1 - exp(-bce))^2 * bce on either side; gradient through all."""
    element = bce(logits, labels)
    return 0.25 * jnp.square(jnp.expm1(-element)) * element


def hill(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Hill loss [B, C] (Zhang et al., 2021) of labels [B, C] in {0, 1}, gradient through all of it.

    -(1 - p_m)^2 log p_m of the logit less 1 on positives, (1.5 - p) p^2 on negatives.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    shifted, present = logits - 1, jax.nn.sigmoid(logits)
    positive = -jnp.square(jax.nn.sigmoid(-shifted)) * jax.nn.log_sigmoid(shifted)
    return labels * positive + (1 - labels) * (1.5 - present) * jnp.square(present)


def _bounded(prior: Prior) -> jax.Array:
    return jnp.clip(prior.class_count, 1, prior.train_size - 0.5)
