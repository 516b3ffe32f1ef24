"""The losses of COMIC: multi-focal modifier (MFM), reflective label corrector (RLC), head-tail balancer (HTB).

Zhang et al., "Learning in Imperfect Environment: Multi-Label Classification with Long-Tailed Distribution and Partial
Labels" (ICCV 2023), with the constants of its released code. Labels are the observed ones, float [B, C] in {0, 1};
logits are raw, [B, C]; all is computed in float32 or wider.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ltpml_jax.methods import losses
from ltpml_jax.methods.settings import BELOW_ONE, FINITE, SHARE, SWITCH, above, at_least, between, one_of

TRUST = 1.2  # PFM: factor of 1 - p for a class that goes with the observed positives of its image
PAST = 0.9  # pc_mode ema: share of the past in the average probability
KAPPA_POWER = 2  # HTB: the power to which either side's loss weighs


class ComicSettings(NamedTuple):
    """Settings of COMIC; defaults are the released code's. The backbones are frozen by model.frozen_stages = 4."""

    gamma_neg: Annotated[float, at_least(0), "MFM: focal exponent of negatives"] = 3.0
    gamma_pos: Annotated[float, at_least(0), "MFM: focal exponent of positives; the paper leaves it open"] = 0.0
    weight_neg: Annotated[float, at_least(0), "MFM: share of the head-tail factor in the negatives' exponent"] = 1.0
    weight_pos: Annotated[float, at_least(0), "MFM: the same of positives; the paper leaves it open"] = 0.0
    exponent: Annotated[float, at_least(0), "MFM: power of the head-tail factor"] = 1 / 3
    clip: Annotated[float, SHARE, "MFM: negatives this improbable cost nothing; paper: 0"] = 0.05
    class_weight: Annotated[bool, SWITCH, "MFM: the head-tail factor weighs the loss too; paper: off"] = True
    cooc: Annotated[bool, SWITCH, "MFM: discount by co-occurrence of observed labels, as the code's PFM"] = False
    pc_mode: Annotated[
        str, one_of("batch", "ema"), "RLC: mean probability of a class, of the batch, or of the past (paper)"
    ] = "batch"  # fmt: skip
    rlc_threshold: Annotated[float, between(0, 1), "RLC: tau, above which a missing label is recalled"] = 0.7
    rlc_margin: Annotated[float, at_least(0), "RLC: subtracted from logits of observed positives; paper: 0"] = 1.0
    rlc_exponent: Annotated[float, at_least(0), "RLC: power of the head-tail factor of the corrected counts"] = 1 / 6
    rlc_weight: Annotated[float, at_least(0), "lambda_c: weight of RLC"] = 0.2
    mfm_weight: Annotated[float, at_least(0), "lambda_m: weight of MFM"] = 1.0
    htb_weight: Annotated[float, at_least(0), "lambda_b: weight of HTB"] = 1.0
    detach_kappa: Annotated[bool, SWITCH, "HTB: no gradient through the weights of head and tail"] = False
    feature_width: Annotated[int, between(1, 10**6), "D: features of each branch"] = 1024
    feat_logsoftmax: Annotated[bool, SWITCH, "log-softmax of the features, which the code has"] = False
    groups: Annotated[int, between(1, 10**6), "N_g: parts of a feature that are normalised each on its own"] = 1
    scale: Annotated[float, above(0), "rho: scale of the normalised logits"] = 16.0
    tail_shift: Annotated[float, FINITE, "alpha_t: how much of the moving vector the tail adds; paper: 1"] = 2.0
    attention_width: Annotated[int, between(1, 10**6), "hidden width of the attention"] = 1024
    attention_residual: Annotated[float, at_least(0), "lambda_a: share of attended features; paper: 1"] = 0.1
    attention_dropout: Annotated[float, BELOW_ONE, "of the attention's weights, in training"] = 0.1


def head_tail_factor(count: jax.Array, exponent: float) -> jax.Array:
    """ght float [C] of class counts [C]: (1 - ln(N_c / max N))^exponent, at least 1.

    An empty class counts as one image.
    """
    count = jnp.maximum(count, 1)
    return (1 - jnp.log(count / count.max())) ** exponent


def mfm(
    logits: jax.Array, labels: jax.Array, count: jax.Array, settings: ComicSettings, cooc: jax.Array | None = None
) -> jax.Array:
    """Multi-focal modifier [B, C] (equations 5 and 6; COMIC sums it): an asymmetric loss with exponents by class.

    count [C]: training images by class. cooc [C, C]: label co-occurrence counts, for the discount of the code's
    PriorFocalModifierLoss. No gradient flows through the focal weight.
    """
    logits = losses.wide(logits)
    dtype = logits.dtype
    labels = labels.astype(dtype)
    factor = head_tail_factor(count.astype(dtype), settings.exponent)[None]
    present, absent = jax.nn.sigmoid(logits), losses.shifted_absence(logits, settings.clip)
    if cooc is not None:
        share = associated(labels, cooc.astype(dtype))
        present = present * (1 - share)
        absent = jnp.minimum(jnp.where(share == 0, absent, TRUST * absent), 1)
    gamma = labels * (settings.gamma_pos + settings.weight_pos * factor)
    gamma += (1 - labels) * (settings.gamma_neg + settings.weight_neg * factor)
    return losses.focal_likelihood(present, absent, labels, gamma) * (factor if settings.class_weight else 1)


def cooccurrence(labels: jax.Array) -> jax.Array:
    """How often two classes are observed in one image, int32 [C, C], of labels [N, C] in {0, 1}."""
    labels = labels.astype(jnp.int8)  # whole numbers: no copy of the table as floats
    return jnp.matmul(labels.T, labels, preferred_element_type=jnp.int32)


def associated(labels: jax.Array, cooc: jax.Array) -> jax.Array:
    """Share [B, C] of each class in what goes with a row's positives: rows sum to 1, to 0 without positives.

    The rows of the column-normalised counts [C, C] of the positives, added up.
    """
    column = cooc.sum(0, keepdims=True)
    share = labels @ (cooc / jnp.where(column > 0, column, 1))
    total = share.sum(-1, keepdims=True)
    return share / jnp.where(total > 0, total, 1)


class RLCState(NamedTuple):
    """What a corrector remembers: counts with this epoch's recalled labels, D_t float [C]; average probability of
    the past, float [C] (pc_mode ema); the last epoch int32 [], counted from 1.
    """

    distribution: jax.Array
    average: jax.Array
    epoch: jax.Array


def init_rlc(count: jax.Array) -> RLCState:
    """The state before the first epoch, of observed counts float [C]."""
    return RLCState(count, jnp.zeros_like(count), jnp.int32(0))


def rlc(
    logits: jax.Array, labels: jax.Array, epoch: jax.Array, count: jax.Array, state: RLCState,
    settings: ComicSettings, batch_size: float,
) -> tuple[jax.Array, RLCState]:  # fmt: skip
    """Reflective label corrector: (loss [], new state); `epoch` int [] counts from 1, and before that nothing happens.

    A label is recalled where its probability is above the threshold and above its class's mean. The loss is MFM's
    sum over the corrected labels times batch_size / their number; observed positives have the margin taken off.
    The recalled labels enter D_t before the loss reads it; D_t starts from `count` [C] in each epoch.
    """
    logits = logits - settings.rlc_margin * labels
    probability = lax.stop_gradient(jax.nn.sigmoid(logits))
    mean = probability.mean(0)
    usual = mean if settings.pc_mode == "batch" else state.average
    recalled = (probability > settings.rlc_threshold) & (probability > usual[None]) & (labels == 0)
    corrected = labels + recalled
    distribution = jnp.where(epoch > state.epoch, count, state.distribution) + recalled.sum(0)
    loss = mfm(logits, corrected, distribution, settings._replace(exponent=settings.rlc_exponent)).sum()
    loss = loss * batch_size / jnp.maximum(corrected.sum(), 1)
    average = PAST * state.average + (1 - PAST) * mean
    new = RLCState(distribution, average, jnp.maximum(epoch, state.epoch).astype(jnp.int32))
    active = epoch >= 1
    return jnp.where(active, loss, 0), jax.tree.map(lambda after, before: jnp.where(active, after, before), new, state)


def htb(
    head: jax.Array, tail: jax.Array, balanced: jax.Array, loss: Callable[[jax.Array], jax.Array], detach: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Head-tail balancer (equation 11) of three logits [B, C]: (loss [], kappa_h []).

    loss: logits [B, C] -> [], MFM summed. kappa_h = L_h^2 / (L_h^2 + L_t^2), and 1/2 where both are 0; `detach` stops
    the gradient through it. The product of two softmaxes stands in for logits, as in the code; the head's and the
    tail's softmax are constants.
    """
    on_head, on_tail = loss(head) ** KAPPA_POWER, loss(tail) ** KAPPA_POWER
    both = on_head + on_tail
    kappa = jnp.where(both > 0, on_head / jnp.where(both > 0, both, 1), 0.5)
    kappa = lax.stop_gradient(kappa) if detach else kappa
    guided = [lax.stop_gradient(jax.nn.softmax(guide)) * jax.nn.softmax(balanced) for guide in (head, tail)]
    return kappa * loss(guided[0]) + (1 - kappa) * loss(guided[1]), kappa
