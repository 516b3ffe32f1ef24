"""NDLP: noise correction and distribution fine-tuning for long-tailed partial multi-label learning.

State and assembly; the ideas themselves are the functions in `ndlp_parts`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ltpml_jax import losses
from ltpml_jax.methods import ndlp_parts, tables
from ltpml_jax.methods.base import Context, Forward, Method, Pass
from ltpml_jax.priors import Prior


class NDLPParams(NamedTuple):
    """Settings of NDLP; the four before the last are ablation switches."""

    loss: losses.DBParams
    gamma: float  # sharpening exponent
    alpha: tuple[float, float]  # share of a class's quota that counts as reliable, first and last epoch
    eta: float  # weight of the mixup pass towards the last epoch
    correction_rate: float  # mu, the step of the moving average of soft labels
    mixup_concentration: float  # lambda ~ Beta(c, c)
    epochs: int
    label_correction: bool
    class_aware_thresholds: bool
    distribution_finetuning: bool
    mixup_pass: bool
    mixup_block: int = 0  # partners come from within so many consecutive images; 0: from the whole batch


class NDLPState(NamedTuple):
    """confidence float [N, C]; its column sums; candidate counts [C]; class distribution r [C]; the prior."""

    confidence: jax.Array
    column_sum: tables.RunningSum
    candidate_count: jax.Array
    distribution: jax.Array
    last_epoch: jax.Array  # int32 []: the epoch of the step before, so that r is reset where an epoch begins
    prior: Prior


class NDLPCarry(NamedTuple):
    """What the passes hand on: batch rows of the state and what the first pass found; all [B, C] or [B]."""

    confidence: jax.Array
    distribution: jax.Array
    sharp: jax.Array
    hard: jax.Array
    adjusted: jax.Array
    sample_loss: jax.Array
    reliable: jax.Array


def init(candidates: jax.Array, prior: Prior) -> NDLPState:
    """Uniform confidence over each row's candidates [N, C] in {0, 1}; rows without any (padding) stay zero."""
    count = candidates.sum(-1, keepdims=True, dtype=jnp.int32)  # whole numbers: no copy of the table as floats
    confidence = candidates / jnp.maximum(count, 1)
    classes = candidates.shape[1]
    return NDLPState(
        confidence=confidence,
        column_sum=tables.init_sum(confidence),
        candidate_count=candidates.sum(0, dtype=jnp.int32).astype(confidence.dtype),
        distribution=jnp.full(classes, 1 / classes, confidence.dtype),
        last_epoch=jnp.int32(0),
        prior=jax.tree.map(lambda leaf: jnp.asarray(leaf, confidence.dtype), prior),
    )


def ndlp(params: NDLPParams, parts: ndlp_parts.Parts = ndlp_parts.Parts()) -> Method:
    """Assemble NDLP; `parts` replaces single functions of it."""

    def first(forward: Forward, context: Context, carry: None):
        state: NDLPState = context.state
        logits, stats = forward(context.images, None, context.keys.dropout)
        rows = state.confidence[context.index]
        sharp, hard = pseudo_labels(state, rows, params, parts)
        loss = losses.db_focal(logits, hard, state.prior, params.loss)
        sample_loss = lax.stop_gradient(loss).mean(-1)
        distribution = epoch_distribution(state, context.epoch)
        reliable = parts.select_reliable(sample_loss, hard, distribution, alpha(params, context.epoch))
        adjusted = logits + losses.class_bias(state.prior, params.loss)
        found = NDLPCarry(rows, distribution, sharp, hard, adjusted, sample_loss, reliable)
        return loss.mean(), (lax.stop_gradient(found), stats)

    def second(forward: Forward, context: Context, carry: NDLPCarry):
        keys = jax.random.split(context.keys.method, 3)
        block, reliable = params.mixup_block, carry.reliable
        partner = parts.pair_reliable(keys[0], reliable.reshape(-1, block) if block else reliable)
        weight = parts.mixup_weight(keys[1], params.mixup_concentration)
        mixed = ndlp_parts.mixup(context.images, partner, weight)
        labels = ndlp_parts.mixup(carry.sharp, partner, weight)
        logits, stats = forward(mixed, carry.reliable, keys[2])
        loss = losses.db_focal(logits, labels, context.state.prior, params.loss)
        return eta(params, context.epoch) * masked_mean(loss, carry.reliable), (carry, stats)

    def update(context: Context, carry: NDLPCarry):
        return update_state(context, carry, params, parts)

    def beliefs(state: NDLPState):
        return state.confidence, pseudo_labels(state, state.confidence, params, parts)[1]

    mix = Pass(second, when=lambda context, carry: (context.epoch >= 1) & carry.reliable.any())
    return Method(
        init=init,
        passes=(Pass(first), mix) if params.mixup_pass else (Pass(first),),
        update=update,
        beliefs=beliefs,
        rows=("confidence",),
    )


def pseudo_labels(
    state: NDLPState, confidence: jax.Array, params: NDLPParams, parts: ndlp_parts.Parts
) -> tuple[jax.Array, jax.Array]:
    """Sharpened soft and hard labels, both like the confidence rows [B, C] (or the whole table)."""
    phi = parts.class_thresholds(state.column_sum.value, state.candidate_count)
    sharp = parts.sharpen(confidence, params.gamma)
    return sharp, ndlp_parts.hard_labels(sharp, phi if params.class_aware_thresholds else 0.5)


def update_state(
    context: Context, carry: NDLPCarry, params: NDLPParams, parts: ndlp_parts.Parts
) -> tuple[NDLPState, dict[str, jax.Array]]:
    """Label correction and class-distribution fine-tuning of one step, with what is worth logging of them."""
    state, rows, distribution = context.state, carry.confidence, carry.distribution
    if params.label_correction:
        rows = parts.correct_labels(rows, carry.adjusted, context.label, params.correction_rate)
    if params.distribution_finetuning:
        distribution = parts.finetune_distribution(distribution, carry.confidence)
    rows = jnp.where(context.applies, rows, carry.confidence)  # rows that stay equal are not written
    confidence, column_sum = tables.write_rows(state.confidence, state.column_sum, context.index, rows)
    diagnostics = {"reliable": carry.reliable, "hard_labels": carry.hard.sum(-1).mean()}
    new = state._replace(
        confidence=confidence,
        column_sum=column_sum,
        distribution=distribution,
        last_epoch=context.epoch,
    )
    return new, diagnostics


def epoch_distribution(state: NDLPState, epoch: jax.Array) -> jax.Array:
    """The class distribution r [C] that a step works with: reset to 1/C where an epoch begins."""
    uniform = jnp.full_like(state.distribution, 1 / state.distribution.shape[0])
    return jnp.where(epoch != state.last_epoch, uniform, state.distribution)


def alpha(params: NDLPParams, epoch: jax.Array) -> jax.Array:
    """Reliable share of a class's quota in an epoch, counted from 0: linear, the last epoch stays below the end."""
    first, last = params.alpha
    return first + (last - first) * epoch / params.epochs


def eta(params: NDLPParams, epoch: jax.Array) -> jax.Array:
    """Weight of the mixup pass in an epoch, counted from 0."""
    return params.eta * epoch / params.epochs


def masked_mean(loss: jax.Array, rows: jax.Array) -> jax.Array:
    """Mean of loss [B, C] over the rows bool [B] that count; 0 where none does, and finite either way."""
    picked = jnp.where(rows[:, None], loss, 0).sum()
    return picked / jnp.maximum(rows.sum() * loss.shape[1], 1)
