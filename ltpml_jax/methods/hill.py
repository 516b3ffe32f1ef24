"""Hill and SPLC: losses that doubt confident negatives (Zhang et al., "Simple and Robust Loss Design for Multi-Label
Learning with Missing Labels"); names and defaults as in the released code."""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from ltpml_jax.methods import losses
from ltpml_jax.methods.base import Method, Plan
from ltpml_jax.methods.settings import FINITE, SHARE, at_least, between
from ltpml_jax.methods.supervised import one_pass


class HillSettings(NamedTuple):
    """Settings of the Hill loss."""

    hill_lambda: Annotated[float, at_least(1), "negatives lose (lambda - p) p^2"] = 1.5
    margin: Annotated[float, FINITE, "subtracted from the logits of positives"] = 1.0
    gamma: Annotated[float, at_least(0), "focal exponent of positives"] = 2.0


class SPLCSettings(NamedTuple):
    """Settings of SPLC."""

    threshold: Annotated[
        float, SHARE, "tau: negatives of a higher probability become positives; 0.65 for 75 % left"
    ] = 0.6
    margin: Annotated[float, FINITE, "subtracted from the logits of observed positives"] = 1.0
    gamma: Annotated[float, at_least(0), "focal exponent"] = 2.0
    first_epoch: Annotated[int, between(0, 10**6), "the first epoch, counted from 0, that corrects labels"] = 1


def hill_loss(logits: jax.Array, labels: jax.Array, settings: HillSettings) -> jax.Array:
    """Hill [B, C]: -(1 - p_m)^gamma log p_m on positives, p_m shifted by the margin; (lambda - p) p^2 on negatives.

    The gradient passes through both weights.
    """
    logits = losses.wide(logits)
    shifted, present = logits - settings.margin, jax.nn.sigmoid(logits)
    # A power of a probability through its logarithm: the gradient stays finite where the probability underflows.
    weight = jnp.exp(settings.gamma * jax.nn.log_sigmoid(-shifted))
    positive = -weight * jax.nn.log_sigmoid(shifted)
    return labels * positive + (1 - labels) * (settings.hill_lambda - present) * jnp.square(present)


def hill(settings: HillSettings, plan: Plan) -> Method:
    """Hill loss, the sum over batch and classes."""
    return one_pass(lambda logits, context: hill_loss(logits, context.candidates, settings).sum())


def splc_loss(logits: jax.Array, labels: jax.Array, epoch: jax.Array | int, settings: SPLCSettings) -> jax.Array:
    """SPLC [B, C] in an epoch counted from 0: |p - y'|^gamma * bce against the corrected labels y'.

    y' is 1 also where a negative is more likely than the threshold; the margin is that of observed positives alone.
    The gradient passes through the weight, not through y'.
    """
    shifted = losses.wide(logits) - settings.margin * labels
    recalled = (jax.nn.sigmoid(shifted) > settings.threshold) & (jnp.asarray(epoch) >= settings.first_epoch)
    sign = jnp.where((labels > 0) | recalled, 1, -1)
    weight = jnp.exp(settings.gamma * jax.nn.log_sigmoid(-sign * shifted))
    return -weight * jax.nn.log_sigmoid(sign * shifted)


def splc(settings: SPLCSettings, plan: Plan) -> Method:
    """SPLC, the sum over batch and classes."""
    return one_pass(lambda logits, context: splc_loss(logits, context.candidates, context.epoch, settings).sum())
