"""Plain supervised training on the observed labels as if they were true: binary cross-entropy or DB losses."""

from collections.abc import Callable
from typing import Any

import jax

from ltpml_jax.methods import losses
from ltpml_jax.methods.base import Context, Forward, Method, Pass, Plan

Loss = Callable[[Any, Context], jax.Array]  # (what the network returns, context) -> []


def bce(plan: Plan) -> Method:
    """Binary cross-entropy, the mean."""
    return one_pass(lambda logits, context: losses.bce(logits, context.candidates).mean())


def db(settings: losses.DBSettings, plan: Plan) -> Method:
    """Distribution-Balanced loss, the mean."""
    return one_pass(lambda logits, context: losses.db(logits, context.candidates, context.shared, settings).mean())


def db_focal(settings: losses.DBSettings, plan: Plan) -> Method:
    """Distribution-Balanced focal loss, the mean."""
    return one_pass(
        lambda logits, context: losses.db_focal(logits, context.candidates, context.shared, settings).mean()
    )


def one_pass(loss: Loss) -> Method:
    """A method that is one loss of one network. It shares the prior, which the loss may read, and remembers nothing."""

    def differentiated(forward: Forward, context: Context, carry: None):
        outputs, stats = forward(context.images, None, context.keys.dropout)
        return loss(outputs, context), (None, stats)

    return Method(
        init=lambda states, prior: (prior, ()),
        passes=(Pass(differentiated),),
        update=lambda context, carry: (context.shared, (), {}),
    )
