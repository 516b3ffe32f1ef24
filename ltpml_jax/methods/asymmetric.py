"""Focal losses on observed labels: focal, asymmetric (ASL), and partial asymmetric (P-ASL, also called CSL).

An observed label y is 1 where a class is positive or a candidate; all others count as absent, which P-ASL doubts.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from ltpml_jax.methods import losses
from ltpml_jax.methods.base import Context, Method, Plan
from ltpml_jax.methods.label_states import LabelState
from ltpml_jax.methods.settings import BELOW_ONE, SHARE, SWITCH, at_least, between, one_of
from ltpml_jax.methods.supervised import one_pass


class FocalSettings(NamedTuple):
    """Settings of the focal loss."""

    convention: Annotated[
        str, one_of("comic", "db", "hill"), "comic: 0.25, sum; db: 2, mean; hill: 1, detached weight, sum"
    ] = "comic"  # fmt: skip
    class_balance: Annotated[float, BELOW_ONE, "beta of class-balanced weights, 0.9 in DB's code; 0: none"] = 0.0


class ASLSettings(NamedTuple):
    """Settings of ASL (Ridnik et al., ICCV 2021); defaults as released for COCO."""

    gamma_neg: Annotated[float, at_least(0), "focal exponent of negatives"] = 4.0
    gamma_pos: Annotated[float, at_least(0), "focal exponent of positives"] = 0.0
    clip: Annotated[float, BELOW_ONE, "m: probability by which negatives are shifted"] = 0.05
    focal_gradient: Annotated[bool, SWITCH, "the gradient passes through the focal weight"] = False


class PASLSettings(NamedTuple):
    """Settings of P-ASL (Ben-Baruch et al., CVPR 2022)."""

    mode: Annotated[
        str, one_of("negative", "ignore", "ignore_normalize_classes", "selective"), "weight of unannotated labels"
    ] = "selective"  # fmt: skip
    gamma_pos: Annotated[float, at_least(0), "focal exponent of positives"] = 0.0
    gamma_neg: Annotated[float, at_least(0), "focal exponent of annotated negatives"] = 1.0
    gamma_unannotated: Annotated[float, at_least(0), "focal exponent of unannotated labels"] = 4.0
    clip: Annotated[float, BELOW_ONE, "probability by which negatives are shifted"] = 0.0
    top_k: Annotated[
        int, between(0, 10**6), "selective: likeliest unannotated labels an image to ignore; 1 for VOC"
    ] = 5
    prior_threshold: Annotated[float, SHARE, "selective: classes in more images are ignored too; 1: none"] = 1.0
    annotated_negatives: Annotated[bool, SWITCH, "known negatives count as annotated (off: as unannotated)"] = False


def focal_loss(logits: jax.Array, labels: jax.Array, convention: str) -> jax.Array:
    """Focal loss [B, C], gamma 2, in a convention of FocalSettings; which of them is summed stands there."""
    if convention == "hill":
        return losses.asymmetric(logits, labels, 2.0, 0.0)
    return losses.focal(losses.bce(logits, labels), {"comic": 0.25, "db": 2.0}[convention])


def focal(settings: FocalSettings, plan: Plan) -> Method:
    """Focal loss, in one of the three forms in which released code has it."""

    def loss(logits: jax.Array, context: Context) -> jax.Array:
        weight = losses.class_balanced_weight(context.shared, settings.class_balance)
        elements = weight[None] * focal_loss(logits, context.candidates, settings.convention)
        return elements.mean() if settings.convention == "db" else elements.sum()

    return one_pass(loss)


def asl_loss(logits: jax.Array, labels: jax.Array, settings: ASLSettings) -> jax.Array:
    """ASL [B, C] of raw logits [B, C] against labels [B, C] in {0, 1}."""
    gamma = labels * settings.gamma_pos + (1 - labels) * settings.gamma_neg
    return losses.asymmetric(logits, labels, gamma, settings.clip, settings.focal_gradient)


def asl(settings: ASLSettings, plan: Plan) -> Method:
    """Asymmetric loss, the sum over batch and classes.

    Raises ValueError for exponents between 0 and 1 with a gradient through the weight, which is infinite there.
    """
    for name in ("gamma_neg", "gamma_pos") if settings.focal_gradient else ():
        if 0 < getattr(settings, name) < 1:
            raise ValueError(
                f"config.asl.{name} is {getattr(settings, name)}; with config.asl.focal_gradient it must be 0, or 1 or "
                "more"
            )
    return one_pass(lambda logits, context: asl_loss(logits, context.candidates, settings).sum())


def pasl_loss(
    logits: jax.Array, positive: jax.Array, negative: jax.Array, share: jax.Array, settings: PASLSettings
) -> jax.Array:
    """P-ASL [B, C]; positive, negative [B, C] in {0, 1}: annotated as such; share [C] of the images by class."""
    unannotated = 1 - positive - negative
    gamma = positive * settings.gamma_pos + negative * settings.gamma_neg + unannotated * settings.gamma_unannotated
    if settings.mode == "selective":
        ignored = likeliest(logits, unannotated, settings) | (share > settings.prior_threshold)[None]
        weight = 1 - unannotated * ignored
    elif settings.mode == "negative":
        weight = jnp.ones_like(positive)
    else:
        annotated = (1 - unannotated).sum(-1, keepdims=True)
        extra = 1 / (1 + annotated) if settings.mode == "ignore_normalize_classes" else 0
        weight = (1 - unannotated) * (1 + extra)
    return weight * losses.asymmetric(logits, positive, gamma, settings.clip)


def likeliest(logits: jax.Array, unannotated: jax.Array, settings: PASLSettings) -> jax.Array:
    """Bool [B, C]: the top_k * B unannotated labels of the whole batch with the smallest probability of absence.

    Ties go to the earlier image, then class.
    """
    absent = losses.shifted_absence(losses.wide(logits), settings.clip)
    order = jnp.argsort(jnp.where(unannotated > 0, absent, jnp.inf).ravel())
    first = jnp.arange(order.size) < settings.top_k * len(logits)
    chosen = jnp.zeros(order.size, bool).at[order].set(first).reshape(logits.shape)
    return chosen & (unannotated > 0)


def pasl(settings: PASLSettings, plan: Plan) -> Method:
    """Partial asymmetric loss, the sum over batch and classes.

    Raises ValueError for a mode that would learn from positives alone.
    """
    if settings.mode.startswith("ignore") and not settings.annotated_negatives:
        raise ValueError(
            f"config.pasl.mode is {settings.mode}, which leaves no negatives to learn from; set "
            "config.pasl.annotated_negatives, or the mode selective"
        )

    def loss(logits: jax.Array, context: Context) -> jax.Array:
        known = (context.states == LabelState.NEGATIVE) & settings.annotated_negatives
        share = context.shared.class_count / context.shared.train_size
        return pasl_loss(logits, context.candidates, known * (1 - context.candidates), share, settings).sum()

    return one_pass(loss)
