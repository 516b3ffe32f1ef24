"""Losses for single positive labels: weak assume-negative (WAN), label smoothing (AN-LS), expected positives (EPR).

Cole et al., "Multi-Label Learning from Single Positive Labels", CVPR 2021. Their fourth method is in role.py.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from ltpml_jax.methods import losses
from ltpml_jax.methods.base import Context, Method, Plan
from ltpml_jax.methods.priors import Prior
from ltpml_jax.methods.settings import SHARE, at_least
from ltpml_jax.methods.supervised import one_pass


class WANSettings(NamedTuple):
    """Settings of WAN."""

    negative_weight: Annotated[float, at_least(0), "weight of assumed negatives; 0: 1 / (C - 1)"] = 0.0


class ANLSSettings(NamedTuple):
    """Settings of AN-LS."""

    smoothing: Annotated[float, SHARE, "epsilon: labels are 1 - epsilon and epsilon"] = 0.1


class EPRSettings(NamedTuple):
    """Settings of EPR."""

    expected_positives: Annotated[
        float, at_least(0), "k: positives an image; VOC 1.5, COCO 2.9, NUS-WIDE 1.9; 0: as the class counts have it"
    ] = 1.5  # fmt: skip


def assume_negative(logits: jax.Array, labels: jax.Array, negative_weight: float) -> jax.Array:
    """y nl(p) + w (1 - y) nl(1 - p), [B, C], of labels [B, C] in [0, 1]; nl is `losses.negative_log`."""
    logits = losses.wide(logits)
    positive, negative = (losses.negative_log(jax.nn.sigmoid(z)) for z in (logits, -logits))
    return labels * positive + negative_weight * (1 - labels) * negative


def surplus(probability: jax.Array, expected: jax.Array | float) -> jax.Array:
    """The regulariser [] of EPR and ROLE: ((mean over images of the sum over classes of p - k) / C)^2."""
    return jnp.square((probability.sum(-1).mean() - expected) / probability.shape[-1])


def expected_positives(setting: float, prior: Prior) -> jax.Array | float:
    """k: the setting, or where that is 0 the class counts over the number of training images."""
    return setting or prior.class_count.sum() / prior.train_size


def smoothed(labels: jax.Array, epsilon: float) -> jax.Array:
    """Labels [B, C] in {0, 1} as 1 - epsilon and epsilon (not half of it)."""
    return labels * (1 - 2 * epsilon) + epsilon


def epr_loss(logits: jax.Array, labels: jax.Array, expected: jax.Array | float) -> jax.Array:
    """EPR []: mean of y nl(p), and the regulariser; unobserved labels enter through that alone."""
    known = assume_negative(logits, labels, 0.0).mean()
    return known + surplus(jax.nn.sigmoid(losses.wide(logits)), expected)


def wan(settings: WANSettings, plan: Plan) -> Method:
    """Weak assume-negative loss, the mean."""

    def loss(logits: jax.Array, context: Context) -> jax.Array:
        weight = settings.negative_weight or 1 / max(logits.shape[-1] - 1, 1)
        return assume_negative(logits, context.candidates, weight).mean()

    return one_pass(loss)


def an_ls(settings: ANLSSettings, plan: Plan) -> Method:
    """Assume-negative loss with label smoothing, the mean."""
    return one_pass(
        lambda logits, context: assume_negative(logits, smoothed(context.candidates, settings.smoothing), 1.0).mean()
    )


def epr(settings: EPRSettings, plan: Plan) -> Method:
    """Expected positive regularisation."""

    def loss(logits: jax.Array, context: Context) -> jax.Array:
        return epr_loss(logits, context.candidates, expected_positives(settings.expected_positives, context.shared))

    return one_pass(loss)
