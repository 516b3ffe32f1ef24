"""PU-MLC's loss: positive-unlabelled learning of each class over the batch (Yuan et al., 2023).

Its variational loss (vpu) and, where it is weighed, its consistency under mixup; architecture and threshold search of
the released code are not part of it.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ltpml_jax.methods import losses
from ltpml_jax.methods.base import Context, Forward, Method, Pass, Plan
from ltpml_jax.methods.settings import above, at_least


class PUMLCSettings(NamedTuple):
    """Settings of PU-MLC's loss; defaults as released for VOC."""

    gamma: Annotated[float, at_least(0), "exponent of the weight of all images; 0.85 for VOC, 0.55 for COCO"] = 0.85
    alpha: Annotated[float, above(0), "temperature by the logits' deviation; 2 for VOC, 1 for COCO"] = 2.0
    consistency: Annotated[float, at_least(0), "weight of the mixup consistency, a second forward pass; 0: none"] = 0.0
    concentration: Annotated[float, above(0), "consistency: lambda ~ Beta(c, c)"] = 0.3


def vpu_loss(logits: jax.Array, labels: jax.Array, gamma: float, alpha: float) -> jax.Array:
    """[]: over classes, sum of m^gamma log(mean p) - mean over positives of log p; labels [B, C], 1 where positive.

    p = sigmoid(z / T) with T = alpha times the deviation of a class's logits over the batch, within [1e-6, 1]; T and
    the weight m = mean p have no gradient. A class without positives has no second part.
    """
    logits = losses.wide(logits)
    temperature = jnp.clip(lax.stop_gradient(alpha * logits.std(0)), 1e-6, 1)
    scaled = logits / temperature[None]
    mean = jax.nn.sigmoid(scaled).mean(0)
    everything = lax.stop_gradient(mean) ** gamma * jnp.log(mean + 1e-10)
    positive = (labels * jax.nn.log_sigmoid(scaled)).sum(0) / jnp.maximum(labels.sum(0), 1)
    return (everything - positive).sum()


def consistency_loss(targets: jax.Array, mixed: jax.Array) -> jax.Array:
    """[]: sum over classes of the mean squared difference of logarithms of probabilities [B / 2, C]."""
    return jnp.square(jnp.log(targets + 1e-10) - jnp.log(mixed + 1e-10)).mean(0).sum()


def mixed_halves(values: jax.Array, order: jax.Array, weight: jax.Array) -> jax.Array:
    """weight * permuted first half + (1 - weight) * second half, of values [B, ...]; order int [B / 2]."""
    half = len(values) // 2
    return weight * values[:half][order] + (1 - weight) * values[half:]


def pu_mlc(settings: PUMLCSettings, plan: Plan) -> Method:
    """PU-MLC's loss; raises ValueError for an odd batch with the consistency, which pairs the halves of a batch."""
    if settings.consistency and plan.batch_size % 2:
        raise ValueError(f"config.data.batch_size is {plan.batch_size}; with config.pu_mlc.consistency it must be even")

    def loss(forward: Forward, context: Context, carry: None):
        logits, stats = forward(context.images, None, context.keys.dropout)
        total = vpu_loss(logits, context.candidates, settings.gamma, settings.alpha)
        if settings.consistency:
            total += settings.consistency * consistency(forward, context, logits, settings.concentration)
        return total, (None, stats)

    return Method(
        init=lambda states, prior: ((), ()),
        passes=(Pass(loss),),
        update=lambda context, carry: ((), (), {}),
    )


def consistency(forward: Forward, context: Context, logits: jax.Array, concentration: float) -> jax.Array:
    """The mixup consistency [] of a batch; targets keep their gradient, and positives count as certain, as released.

    The second forward pass leaves no BatchNorm statistics: those of the whole batch are stored.
    """
    for_order, for_weight, for_dropout = jax.random.split(context.keys.method, 3)
    order = jax.random.permutation(for_order, len(logits) // 2)
    weight = jax.random.beta(for_weight, concentration, concentration)
    pseudo = jnp.where(context.candidates > 0, 1, jax.nn.sigmoid(losses.wide(logits)))
    mixed, _ = forward(mixed_halves(context.images, order, weight), None, for_dropout)
    return consistency_loss(mixed_halves(pseudo, order, weight), jax.nn.sigmoid(losses.wide(mixed)))
