"""Elementwise multi-label losses [B, C]; computed in float32 or wider whatever the logits' type."""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

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


def inverse_frequency(prior: Prior) -> jax.Array:
    """1 / n_j, float [C], of counts that are bounded as those of `class_bias`."""
    return 1 / _bounded(prior)


def rebalancing_weight(labels: jax.Array, prior: Prior, settings: DBSettings) -> jax.Array:
    """DB re-balancing weight [B, C] of hard or soft labels [B, C]; an all-zero row weighs 1 + map_alpha."""
    inverse = inverse_frequency(prior)[None]
    repeat = (labels * inverse).sum(-1, keepdims=True)
    empty = repeat <= 0
    # The inner where keeps the division, and so its gradient, finite on rows that the outer one discards.
    ratio = inverse / jnp.where(empty, 1, repeat)
    weight = jax.nn.sigmoid(settings.map_beta * (ratio - settings.map_theta))
    return jnp.where(empty, 1, weight) + settings.map_alpha


def db(logits: jax.Array, labels: jax.Array, prior: Prior, settings: DBSettings) -> jax.Array:
    """Distribution-Balanced loss [B, C] of raw logits [B, C] against labels [B, C] in [0, 1], without a focal weight.

    Bias, re-balancing weight and negative-tolerant scaling of Wu et al., ECCV 2020. With init_bias 0 and neg_scale 1 it
    is re-balanced BCE.
    """
    weight, element = _db_parts(logits, labels, prior, settings)
    return weight * element


def db_focal(logits: jax.Array, labels: jax.Array, prior: Prior, settings: DBSettings) -> jax.Array:
    """Distribution-Balanced focal loss [B, C]: the bce of `db` as 2 (1 - exp(-bce))^2 * bce, the weights outside."""
    weight, element = _db_parts(logits, labels, prior, settings)
    return weight * focal(element, 2.0)


def bce(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Plain binary cross-entropy [B, C] of raw logits [B, C] against labels [B, C] in [0, 1]."""
    return optax.sigmoid_binary_cross_entropy(wide(logits), labels)


def focal(element: jax.Array, factor: float) -> jax.Array:
    """Focal loss factor (1 - exp(-bce))^2 * bce, like the binary cross-entropies `element`.

    One factor for positives and negatives; the gradient passes through the weight. Lin et al., ICCV 2017, as in the
    released code of the DB loss.
    """
    return factor * jnp.square(jnp.expm1(-element)) * element


def class_balanced_weight(prior: Prior, beta: float) -> jax.Array:
    """Weight float [C] of a class by its effective number of images, (1 - beta) / (1 - beta^n_j); Cui et al., 2019."""
    return (1 - beta) / (1 - beta ** _bounded(prior))


def asymmetric(
    logits: jax.Array, labels: jax.Array, gamma: jax.Array | float, clip: float, through: bool = False
) -> jax.Array:
    """Asymmetric focal loss [B, C]; labels [B, C] in {0, 1}; gamma: exponents that broadcast to [B, C].

    -[y log p + (1 - y) log q] (1 - pt)^gamma with q = min(1 - p + clip, 1) and pt = p or q; logarithms are cut at 1e-8,
    below which they have no gradient. through: whether the gradient passes through the focal weight. ASL, ICCV 2021.
    """
    logits = wide(logits)
    return focal_likelihood(jax.nn.sigmoid(logits), shifted_absence(logits, clip), labels, gamma, through)


def focal_likelihood(
    present: jax.Array, absent: jax.Array, labels: jax.Array, gamma: jax.Array | float, through: bool = False
) -> jax.Array:
    """`asymmetric` [B, C] of the probabilities p and q [B, C] themselves."""
    likelihood = labels * _cut_log(present) + (1 - labels) * _cut_log(absent)
    weight = _power(1 - (labels * present + (1 - labels) * absent), gamma)
    return -likelihood * (weight if through else lax.stop_gradient(weight))


def shifted_absence(logits: jax.Array, clip: float) -> jax.Array:
    """Probability that a class is absent, shifted as in ASL: min(1 - p + clip, 1)."""
    absent = jax.nn.sigmoid(-logits)
    return jnp.minimum(absent + clip, 1) if clip else absent


def negative_log(probability: jax.Array) -> jax.Array:
    """-log(v + 1e-5), the logarithm of the single-positive losses (Cole et al., CVPR 2021)."""
    return -jnp.log(probability + 1e-5)


def wide(logits: jax.Array) -> jax.Array:
    """Logits in float32, or wider where they are."""
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def _db_parts(logits: jax.Array, labels: jax.Array, prior: Prior, settings: DBSettings) -> tuple[jax.Array, jax.Array]:
    logits = wide(logits)
    labels = labels.astype(logits.dtype)
    weight = rebalancing_weight(labels, prior, settings) * ((1 - labels) / settings.neg_scale + labels)
    scaled = (logits + class_bias(prior, settings)[None]) * (settings.neg_scale * (1 - labels) + labels)
    return weight, optax.sigmoid_binary_cross_entropy(scaled, labels)


def _power(base: jax.Array, exponent: jax.Array | float) -> jax.Array:
    """0 ** 0 is 1, and its gradient 0 where JAX's own is NaN."""
    flat = jnp.asarray(exponent) == 0
    return jnp.where(flat, 1, base ** jnp.where(flat, 1, exponent))


def _cut_log(probability: jax.Array) -> jax.Array:
    return jnp.log(jnp.maximum(probability, 1e-8))


def _bounded(prior: Prior) -> jax.Array:
    return jnp.clip(prior.class_count, 1, prior.train_size - 0.5)
