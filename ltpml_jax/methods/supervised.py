"""Plain supervised training on the candidates as if they were labels: binary cross-entropy or DB focal loss."""

from collections.abc import Callable

import jax

from ltpml_jax.methods import losses
from ltpml_jax.methods.base import Context, Forward, Method, Pass, Plan
from ltpml_jax.methods.priors import Prior

Loss = Callable[[jax.Array, jax.Array, Prior], jax.Array]


def bce(plan: Plan) -> Method:
    """Binary cross-entropy. It shares the prior, which it does not use."""
    return _supervised(lambda logits, labels, prior: losses.bce(logits, labels))


def db_focal(db: losses.DBSettings, plan: Plan) -> Method:
    """Distribution-Balanced focal loss. It shares the prior that weighs its classes."""
    return _supervised(lambda logits, labels, prior: losses.db_focal(logits, labels, prior, db))


def _supervised(loss: Loss) -> Method:
    def mean(forward: Forward, context: Context, carry: None):
        logits, stats = forward(context.images, None, context.keys.dropout)
        return loss(logits, context.candidates, context.shared).mean(), (None, stats)

    return Method(
        init=lambda states, prior: (prior, ()),
        passes=(Pass(mean),),
        update=lambda context, carry: (context.shared, (), {}),
    )
