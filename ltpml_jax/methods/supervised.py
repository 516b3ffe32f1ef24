"""Plain supervised training on the labels that are served: binary cross-entropy or DB focal loss."""

from collections.abc import Callable

import jax

from ltpml_jax import losses
from ltpml_jax.methods.base import Context, Forward, Method, Pass
from ltpml_jax.priors import Prior

Loss = Callable[[jax.Array, jax.Array, Prior], jax.Array]


def bce() -> Method:
    """Binary cross-entropy. State: the prior, which it does not use."""
    return _supervised(lambda logits, labels, prior: losses.bce(logits, labels))


def db_focal(params: losses.DBParams) -> Method:
    """Distribution-Balanced focal loss. State: the prior that weighs its classes."""
    return _supervised(lambda logits, labels, prior: losses.db_focal(logits, labels, prior, params))


def _supervised(loss: Loss) -> Method:
    def run(forward: Forward, context: Context, carry: None):
        logits, stats = forward(context.images, None, context.keys.dropout)
        return loss(logits, context.label, context.state).mean(), (None, stats)

    return Method(
        init=lambda labels, prior: prior,
        passes=(Pass(run),),
        update=lambda context, carry: (context.state, {}),
        beliefs=None,
        rows=(),
    )
