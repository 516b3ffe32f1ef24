"""NDLP: noise correction and distribution fine-tuning for long-tailed partial multi-label learning.

The ideas first, one pure function each (replace one through `NDLPParts` and the rest stays as it is); then the state
and the method. B batch, C classes, N training images; arrays are float32 (or float64 under x64). Sources are the
sections of the NDLP paper and its released code, as summed up in each docstring.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ltpml_jax.methods import losses
from ltpml_jax.methods.base import Context, Forward, Method, Pass, Plan
from ltpml_jax.methods.label_states import listed
from ltpml_jax.methods.losses import DBSettings
from ltpml_jax.methods.priors import Prior
from ltpml_jax.methods.rows import RunningSum, init_sum, update_sum
from ltpml_jax.methods.settings import SHARE, SWITCH, Range, above, at_least, low_high


class NDLPSettings(NamedTuple):
    """Settings of NDLP; the last four are ablation switches."""

    gamma: Annotated[float, above(0), "sharpening exponent; 3 for VOC, 2 for COCO and NUS-WIDE"] = 3.0
    alpha: Annotated[Range, low_high(), "reliable share of a class's quota, first epoch to last"] = (0.4, 0.8)
    eta: Annotated[float, at_least(0), "weight of the mixup pass towards the last epoch"] = 0.9
    correction_rate: Annotated[float, SHARE, "mu: step of the moving average of the soft labels"] = 0.1
    mixup_concentration: Annotated[float, above(0), "lambda ~ Beta(c, c)"] = 4.0
    mixup_block: Annotated[int, at_least(0), "partners come from so many consecutive images; 0: the whole batch"] = 0
    label_correction: Annotated[bool, SWITCH, "ablation: update soft labels from predictions"] = True
    class_aware_thresholds: Annotated[bool, SWITCH, "ablation: thresholds by class (off: 0.5 for all)"] = True
    distribution_finetuning: Annotated[bool, SWITCH, "ablation: adapt the class distribution r"] = True
    mixup_pass: Annotated[bool, SWITCH, "ablation: the second pass on mixed reliable samples"] = True


def sharpen(confidence: jax.Array, gamma: jax.Array | float) -> jax.Array:
    """Sharpened soft labels [B, C]: confidence^gamma, rows normalised to 1; all-zero rows stay zero."""
    peak = confidence.max(-1, keepdims=True)
    powered = (confidence / jnp.where(peak > 0, peak, 1)) ** gamma  # the peak first: no underflow at large C
    total = powered.sum(-1, keepdims=True)
    return powered / jnp.where(total > 0, total, 1)


def class_thresholds(column_sum: jax.Array, candidate_count: jax.Array) -> jax.Array:
    """Class-aware thresholds phi [C]: mean confidence of a class over its candidates in the whole training set."""
    return column_sum / jnp.maximum(candidate_count, 1)


def hard_labels(sharp: jax.Array, thresholds: jax.Array | float) -> jax.Array:
    """Hard labels [B, C] in {0, 1}: sharp > threshold, strictly. A row can be all zero."""
    return (sharp > jnp.atleast_2d(thresholds)).astype(sharp.dtype)


def select_reliable(sample_loss: jax.Array, hard: jax.Array, distribution: jax.Array, alpha: jax.Array) -> jax.Array:
    """Reliable samples bool [B]: per class j the k_j = clip(ceil(r_j B alpha), 1, .) smallest losses, united.

    sample_loss [B]; hard labels [B, C]; class distribution r [C]; alpha []. One sort of the batch serves all
    classes: in that order, a sample is among the k_j first of class j when its running count is at most k_j.
    """
    quota = jnp.maximum(jnp.ceil(distribution * sample_loss.shape[0] * alpha), 1)
    order = jnp.argsort(sample_loss)
    carrier = hard[order] > 0
    picked = carrier & (jnp.cumsum(carrier, axis=0) <= quota[None])
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


class NDLPParts(NamedTuple):
    """The replaceable functions of NDLP: `ndlp(settings, db, plan, NDLPParts(select_reliable=mine))`."""

    sharpen: Callable = sharpen
    class_thresholds: Callable = class_thresholds
    select_reliable: Callable = select_reliable
    pair_reliable: Callable = pair_reliable
    mixup_weight: Callable = mixup_weight
    finetune_distribution: Callable = finetune_distribution
    correct_labels: Callable = correct_labels


class NDLPShared(NamedTuple):
    """What all images share: column sums and candidate counts [C] of the table, class distribution r [C], prior."""

    column_sum: RunningSum
    candidate_count: jax.Array
    distribution: jax.Array
    last_epoch: jax.Array  # int32 []: the epoch of the step before, so that r is reset where an epoch begins
    prior: Prior


class NDLPCarry(NamedTuple):
    """What the first pass hands on; all [B, C] or [B] but for the class distribution [C]."""

    distribution: jax.Array
    sharp: jax.Array
    hard: jax.Array
    adjusted: jax.Array
    reliable: jax.Array


def init(states: jax.Array, prior: Prior) -> tuple[NDLPShared, jax.Array]:
    """The state, and the table of confidence float [N, C]: uniform over each row's candidates, zero without any."""
    candidates = listed(states).astype(jnp.int8)
    count = candidates.sum(-1, keepdims=True, dtype=jnp.int32)  # whole numbers: no copy of the table as floats
    confidence = (candidates / jnp.maximum(count, 1)).astype(jnp.result_type(float))
    classes = candidates.shape[1]
    shared = NDLPShared(
        column_sum=init_sum(confidence),
        candidate_count=candidates.sum(0, dtype=jnp.int32).astype(confidence.dtype),
        distribution=jnp.full(classes, 1 / classes, confidence.dtype),
        last_epoch=jnp.int32(0),
        prior=jax.tree.map(lambda leaf: jnp.asarray(leaf, confidence.dtype), prior),
    )
    return shared, confidence


def ndlp(settings: NDLPSettings, db: DBSettings, plan: Plan, parts: NDLPParts = NDLPParts()) -> Method:
    """Assemble NDLP; `parts` replaces single functions of it.

    Raises ValueError for a mixup_block that does not divide the batch.
    """
    block = checked_block(settings.mixup_block, plan.batch_size)

    def first(forward: Forward, context: Context, carry: None):
        shared: NDLPShared = context.shared
        logits, stats = forward(context.images, None, context.keys.dropout)
        sharp, hard = pseudo_labels(shared, context.rows, settings, parts)
        loss = losses.db_focal(logits, hard, shared.prior, db)
        distribution = epoch_distribution(shared, context.epoch)
        share = alpha(settings, context.epoch, plan.epochs)
        reliable = parts.select_reliable(lax.stop_gradient(loss).mean(-1), hard, distribution, share)
        adjusted = logits + losses.class_bias(shared.prior, db)[None]
        return loss.mean(), (lax.stop_gradient(NDLPCarry(distribution, sharp, hard, adjusted, reliable)), stats)

    def second(forward: Forward, context: Context, carry: NDLPCarry):
        keys, reliable = jax.random.split(context.keys.method, 3), carry.reliable
        partner = parts.pair_reliable(keys[0], reliable.reshape(-1, block) if block else reliable)
        weight = parts.mixup_weight(keys[1], settings.mixup_concentration)
        labels = mixup(carry.sharp, partner, weight)
        logits, stats = forward(mixup(context.images, partner, weight), reliable, keys[2])
        loss = losses.db_focal(logits, labels, context.shared.prior, db)
        eta = settings.eta * context.epoch / plan.epochs
        return eta * masked_mean(loss, reliable), (carry, stats)

    mix = Pass(second, when=lambda context, carry: carry.reliable.any(), from_epoch=1)
    return Method(
        init=init,
        passes=(Pass(first), mix) if settings.mixup_pass else (Pass(first),),
        update=lambda context, carry: update(context, carry, settings, parts),
        beliefs=lambda shared, rows: (rows, pseudo_labels(shared, rows, settings, parts)[1]),
    )


def checked_block(block: int, batch_size: int) -> int:
    """A mixup_block that divides the batch, or 0; ValueError for another."""
    if block and batch_size % block:
        raise ValueError(
            f"config.ndlp.mixup_block is {block}; it must be 0 or a divisor of config.data.batch_size, "
            f"which is {batch_size}"
        )
    return block


def pseudo_labels(
    shared: NDLPShared, confidence: jax.Array, settings: NDLPSettings, parts: NDLPParts
) -> tuple[jax.Array, jax.Array]:
    """Sharpened soft and hard labels, both like the confidence rows [B, C] (or the whole table)."""
    phi = parts.class_thresholds(shared.column_sum.value, shared.candidate_count)
    sharp = parts.sharpen(confidence, settings.gamma)
    return sharp, hard_labels(sharp, phi if settings.class_aware_thresholds else 0.5)


def update(
    context: Context, carry: NDLPCarry, settings: NDLPSettings, parts: NDLPParts
) -> tuple[NDLPShared, jax.Array, dict[str, jax.Array]]:
    """Label correction and class-distribution fine-tuning of one step, with what is worth logging of them."""
    shared, old, distribution = context.shared, context.rows, carry.distribution
    rows = old
    if settings.label_correction:
        rows = parts.correct_labels(old, carry.adjusted, context.candidates, settings.correction_rate)
    if settings.distribution_finetuning:
        distribution = parts.finetune_distribution(distribution, old)
    new = shared._replace(
        column_sum=update_sum(shared.column_sum, old, rows, context.writes),
        distribution=distribution,
        last_epoch=context.epoch,
    )
    return new, rows, {"reliable": carry.reliable, "hard_labels": carry.hard.sum(-1).mean()}


def epoch_distribution(shared: NDLPShared, epoch: jax.Array) -> jax.Array:
    """The class distribution r [C] that a step works with: reset to 1/C where an epoch begins."""
    uniform = jnp.full_like(shared.distribution, 1 / shared.distribution.shape[0])
    return jnp.where(epoch != shared.last_epoch, uniform, shared.distribution)


def alpha(settings: NDLPSettings, epoch: jax.Array, epochs: int) -> jax.Array:
    """Reliable share of a class's quota in an epoch, counted from 0: linear, the last epoch stays below the end."""
    first, last = settings.alpha
    return first + (last - first) * epoch / epochs


def masked_mean(loss: jax.Array, rows: jax.Array) -> jax.Array:
    """Mean of loss [B, C] over the rows bool [B] that count; 0 where none does, and finite either way."""
    picked = jnp.where(rows[:, None], loss, 0).sum()
    return picked / jnp.maximum(rows.sum() * loss.shape[1], 1)
