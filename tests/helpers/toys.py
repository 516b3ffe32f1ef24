"""Two small methods of their own, as a reader of methods/base.py would write them: two networks, and two row tables."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from ltpml_jax.methods.base import Context, Forward, Method, Pass


def agreeing_pair() -> Method:
    """Two networks, each trained on the half of the batch that the other one finds easier; predicts their mean."""

    def loss(forward: Forward, context: Context, carry: None):
        outputs, stats = forward(context.images, None, context.keys.dropout)
        each = [optax.sigmoid_binary_cross_entropy(logits, context.candidates).mean(1) for logits in outputs]
        easy = [lax.stop_gradient(losses) <= jnp.median(lax.stop_gradient(losses)) for losses in each]
        total = jnp.where(easy[1], each[0], 0).mean() + jnp.where(easy[0], each[1], 0).mean()
        return total, ((easy[0] == easy[1]).sum(), stats)

    return Method(
        init=lambda states, prior: ({"agreed": jnp.int32(0)}, ()),
        passes=(Pass(loss),),
        update=lambda context, agreed: ({"agreed": context.shared["agreed"] + agreed}, (), {"agreed": agreed}),
        network=lambda blocks: blocks.pair(),
        predictions={
            "mean": lambda outputs: (outputs[0] + outputs[1]) / 2,
            "first": lambda outputs: outputs[0],
            "second": lambda outputs: outputs[1],
        },
    )


class Tables(NamedTuple):
    """Two tables: a moving average of predictions float [N, C], and how often an image was seen, int32 [N]."""

    average: jax.Array
    visits: jax.Array


def remembering() -> Method:
    """Trains towards its own averaged predictions over the candidates; keeps two row tables."""

    def init(states: jax.Array, prior: Any):
        candidates = (states != 0).astype(jnp.float32)
        return jnp.int32(0), Tables(0.5 * candidates, jnp.zeros(len(states), jnp.int32))

    def loss(forward: Forward, context: Context, carry: None):
        logits, stats = forward(context.images, None, context.keys.dropout)
        targets = jnp.where(context.rows.visits[:, None] > 0, context.rows.average, context.candidates)
        probability = lax.stop_gradient(jax.nn.sigmoid(logits)) * context.candidates
        return optax.sigmoid_binary_cross_entropy(logits, targets).mean(), (probability, stats)

    def update(context: Context, probability: jax.Array):
        rows = Tables(0.7 * context.rows.average + 0.3 * probability, context.rows.visits + 1)
        return context.shared + context.writes.sum(), rows, {"mean_visits": rows.visits.mean()}

    return Method(
        init=init,
        passes=(Pass(loss),),
        update=update,
        beliefs=lambda shared, rows: (rows.average, (rows.average > 0.5).astype(jnp.float32)),
    )


TOYS = {"agreeing_pair": agreeing_pair, "remembering": remembering}
