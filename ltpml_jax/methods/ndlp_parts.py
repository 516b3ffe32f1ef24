"""The ideas of NDLP, one pure function each; replace one through `Parts` and the rest stays as it is.

B batch, C classes, N training images. Every function takes float32 (or float64 under x64) and returns the same.
Sources are the sections of the NDLP paper and its released code, as summed up in each docstring.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


def sharpen(confidence: jax.Array, gamma: jax.Array | float) -> jax.Array:
    """Sharpened soft labels [B, C]: confidence^gamma, rows normalised to 1; all-zero rows stay zero."""
    peak = confidence.max(-1, keepdims=True)
    powered = (confidence / jnp.where(peak > 0, peak, 1)) ** gamma  # the peak first: no underflow at large C
    return _normalise_rows(powered)


def class_thresholds(column_sum: jax.Array, candidate_count: jax.Array) -> jax.Array:
    """Class-aware thresholds phi [C]: mean confidence of a class over its candidates in the whole training set."""
    return column_sum / jnp.maximum(candidate_count, 1)


def hard_labels(sharp: jax.Array, thresholds: jax.Array | float) -> jax.Array:
    """Hard labels [B, C] in {0, 1}: sharp > threshold, strictly. A row can be all zero."""
    return (sharp > thresholds).astype(sharp.dtype)


def select_reliable(sample_loss: jax.Array, hard: jax.Array, distribution: jax.Array, alpha: jax.Array) -> jax.Array:
    """Reliable samples bool [B]: per class j the k_j = clip(ceil(r_j B alpha), 1, .) smallest losses, united.

    sample_loss [B]; hard labels [B, C]; class distribution r [C]; alpha []. One sort of the batch serves all
    classes: in that order, a sample is among the k_j first of class j when its running count is at most k_j.
    """
    quota = jnp.maximum(jnp.ceil(distribution * sample_loss.shape[0] * alpha), 1)
    order = jnp.argsort(sample_loss)
    carrier = hard[order] > 0
    picked = carrier & (jnp.cumsum(carrier, axis=0) <= quota)
    return jnp.zeros_like(sample_loss, bool).at[order].set(picked.any(-1))


def pair_reliable(key: jax.Array, reliable: jax.Array) -> jax.Array:
    """Mixup partners int32, like reliable bool [..., B]: places in the last axis.

    A uniform random permutation inside the reliable set; others keep themselves.
    """
    ticket = jax.random.uniform(key, reliable.shape)
    shuffled = jnp.argsort(jnp.where(reliable, ticket, jnp.inf), axis=-1)  # reliable ones first, in random order
    members = jnp.argsort(~reliable, axis=-1)  # reliable ones first, ascending
    return jnp.put_along_axis(jnp.zeros_like(members), members, shuffled, axis=-1, inplace=False)


def mixup_weight(key: jax.Array, concentration: float) -> jax.Array:
    """One lambda [] a step: max(l, 1 - l) with l ~ Beta(concentration, concentration)."""
    weight = jax.random.beta(key, concentration, concentration)
    return jnp.maximum(weight, 1 - weight)


def mixup(values: jax.Array, partner: jax.Array, weight: jax.Array) -> jax.Array:
    """weight * values + (1 - weight) * values[partner], for images or labels [B, ...].

    partner [B], or [B / b, b] where partners come from within blocks of b consecutive images.
    """
    blocks = jnp.atleast_2d(partner)
    grouped = values.reshape(*blocks.shape, *values.shape[1:])
    chosen = jax.vmap(lambda block, places: block[places])(grouped, blocks).reshape(values.shape)
    return weight * values + (1 - weight) * chosen


def finetune_distribution(distribution: jax.Array, confidence: jax.Array) -> jax.Array:
    """Class-distribution fine-tuning [C]: what batches over-represent loses share.

    m = column sums of the batch's confidence [B, C] over their total, r_j where m_j = 0; r' = r / (m + 1e-8),
    normalised to 1.
    """
    share = confidence.sum(0)
    share = share / jnp.maximum(share.sum(), jnp.finfo(share.dtype).tiny)
    ratio = distribution / (jnp.where(share == 0, distribution, share) + 1e-8)
    return ratio / ratio.sum()


def candidate_softmax(adjusted: jax.Array, candidates: jax.Array) -> jax.Array:
    """Softmax [B, C] over the candidates [B, C] in {0, 1} of each row; rows without any are zero.

    Equals softmax * candidates, rows renormalised, without its underflow.
    """
    candidate = candidates > 0
    return jnp.where(candidate, jax.nn.softmax(adjusted, axis=-1, where=candidate), 0)


def correct_labels(
    confidence: jax.Array, adjusted: jax.Array, candidates: jax.Array, rate: jax.Array | float
) -> jax.Array:
    """Label correction [B, C]: (1 - rate) * confidence + rate * softmax over the candidates.

    adjusted [B, C]: training logits with the DB bias added, as the released code has them.
    """
    return (1 - rate) * confidence + rate * candidate_softmax(adjusted, candidates)


class Parts(NamedTuple):
    """The replaceable functions of NDLP: `ndlp(config, Parts(select_reliable=mine))`."""

    sharpen: Callable = sharpen
    class_thresholds: Callable = class_thresholds
    select_reliable: Callable = select_reliable
    pair_reliable: Callable = pair_reliable
    mixup_weight: Callable = mixup_weight
    finetune_distribution: Callable = finetune_distribution
    correct_labels: Callable = correct_labels


def _normalise_rows(values: jax.Array) -> jax.Array:
    total = values.sum(-1, keepdims=True)
    return values / jnp.where(total > 0, total, 1)
