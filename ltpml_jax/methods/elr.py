"""ELR, early-learning regularisation (Liu et al., NeurIPS 2020), in a multi-label form.

The original has a softmax over classes and a memory that starts at 0. Here every label has a probability of its own,
the memory starts at 1/2 (0 would pull every label to absent), and it is not divided by its sum over classes.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from ltpml_jax.methods import losses
from ltpml_jax.methods.base import Context, Forward, Method, Pass, Plan
from ltpml_jax.methods.settings import BELOW_ONE, at_least

_EDGE = 1e-4  # probabilities stay so far from 0 and 1


class ELRSettings(NamedTuple):
    """Settings of ELR in its multi-label form."""

    weight: Annotated[float, at_least(0), "lambda: weight of the regulariser; 1, 3 and 7 are worth trying"] = 1.0
    memory: Annotated[float, BELOW_ONE, "beta: share of an image's memory that a step keeps; 0.7 or 0.9"] = 0.7


def remember(memory: jax.Array, logits: jax.Array, keep: jax.Array | float) -> jax.Array:
    """The memory [B, C] after a step: keep * memory + (1 - keep) * probability of the logits [B, C], a constant."""
    return jax.lax.stop_gradient(keep * memory + (1 - keep) * _probability(logits))


def elr_loss(logits: jax.Array, labels: jax.Array, memory: jax.Array, weight: jax.Array | float) -> jax.Array:
    """Elementwise loss [B, C]: bce + weight * log(1 - s), s = t p + (1 - t) (1 - p), with the memory t [B, C].

    The memory is that after the step's update, and a constant.
    """
    probability = _probability(logits)
    agreement = memory * probability + (1 - memory) * (1 - probability)
    return losses.bce(logits, labels) + weight * jnp.log1p(-agreement)


def elr(settings: ELRSettings, plan: Plan) -> Method:
    """ELR on candidates as labels. Its rows are the memory float [N, C], which also is what it believes."""

    def loss(forward: Forward, context: Context, carry: None):
        logits, stats = forward(context.images, None, context.keys.dropout)
        memory = remember(context.rows, logits, settings.memory)
        return elr_loss(logits, context.candidates, memory, settings.weight).mean(), (memory, stats)

    return Method(
        init=lambda states, prior: ((), jnp.full(states.shape, 0.5, jnp.result_type(float))),
        passes=(Pass(loss),),
        update=lambda context, memory: ((), memory, {}),
        beliefs=lambda shared, memory: (memory, (memory > 0.5).astype(memory.dtype)),
    )


def _probability(logits: jax.Array) -> jax.Array:
    return jnp.clip(jax.nn.sigmoid(losses.wide(logits)), _EDGE, 1 - _EDGE)
