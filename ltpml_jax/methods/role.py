"""ROLE: a network and a table of label estimates that learn from each other (Cole et al., CVPR 2021, section 4.3).

Every image has estimated logits theta of its labels; network and table are each pulled towards the other, towards the
observed positives, and towards an expected number of positives. The table is trained by Adam with the moments of each
row beside it. Its update is sparse: only the rows of the batch move.
"""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from ltpml_jax.methods import losses
from ltpml_jax.methods.assume_negative import assume_negative, expected_positives, surplus
from ltpml_jax.methods.base import Context, Forward, Method, Pass, Plan
from ltpml_jax.methods.label_states import LabelState, listed
from ltpml_jax.methods.priors import Prior
from ltpml_jax.methods.settings import above, at_least, between

OBSERVED, WIDEST = 0.995, 0.6  # initial probability of observed positives, and the highest one of unknown labels
ADAM = optax.scale_by_adam()


class RoleSettings(NamedTuple):
    """Settings of ROLE."""

    expected_positives: Annotated[
        float, at_least(0), "k: positives an image; VOC 1.5, COCO 2.9, NUS-WIDE 1.9; 0: as the class counts have it"
    ] = 1.5  # fmt: skip
    label_rate: Annotated[
        float, above(0), "Adam's learning rate of the label table; published: 10 x optim.learning_rate"
    ] = 0.2  # fmt: skip
    seed: Annotated[int, between(0, 2**32 - 1), "seed of the table's initial values"] = 0


class RoleRows(NamedTuple):
    """Estimated label logits and Adam's first and second moments of them, float [N, C] each."""

    theta: jax.Array
    first: jax.Array
    second: jax.Array


class RoleShared(NamedTuple):
    """Prior, and how many steps Adam has taken, int32 []."""

    prior: Prior
    steps: jax.Array


def init(states: jax.Array, prior: Prior, seed: int) -> tuple[RoleShared, RoleRows]:
    """Observed positives (and candidates) at logit(0.995), negatives at its opposite, moments zero.

    Unknown labels are uniform within +-logit(0.6).
    """
    dtype = jnp.result_type(float)
    spread, high = (jax.scipy.special.logit(jnp.asarray(share, dtype)) for share in (WIDEST, OBSERVED))
    draw = jax.random.uniform(jax.random.key(seed), states.shape, dtype, -1, 1)
    theta = jnp.where(listed(states), high, jnp.where(states == LabelState.NEGATIVE, -high, spread * draw))
    zeros = jnp.zeros_like(theta)
    return RoleShared(prior, jnp.int32(0)), RoleRows(theta, zeros, zeros)


def one_sided(
    logits: jax.Array, other: jax.Array, labels: jax.Array, expected: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
    """h(a | b) without its regulariser, and that regulariser, both []; logits of a, of b, and labels, all [B, C].

    mean[y nl(a)] + mean[b nl(a) + (1 - b) nl(1 - a)], b without gradient.
    """
    target = lax.stop_gradient(jax.nn.sigmoid(other))
    known, matched = assume_negative(logits, labels, 0.0), assume_negative(logits, target, 1.0)
    return known.mean() + matched.mean(), surplus(jax.nn.sigmoid(logits), expected)


def role_loss(
    logits: jax.Array, theta: jax.Array, labels: jax.Array, expected: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
    """The loss [] and its regulariser [], a part of it: the mean of h(p | y') and h(y' | p), y' = sigmoid(theta)."""
    logits = losses.wide(logits)
    network, network_surplus = one_sided(logits, theta, labels, expected)
    table, table_surplus = one_sided(theta, logits, labels, expected)
    regulariser = (network_surplus + table_surplus) / 2
    return (network + table) / 2 + regulariser, regulariser


def role(settings: RoleSettings, plan: Plan) -> Method:
    """Regularised online label estimation."""

    def loss(forward: Forward, context: Context, carry: None):
        logits, stats = forward(context.images, None, context.keys.dropout)
        expected = expected_positives(settings.expected_positives, context.shared.prior)

        def of_table(theta: jax.Array) -> jax.Array:
            return role_loss(lax.stop_gradient(logits), theta, context.candidates, expected)[0]

        gradient = jax.grad(of_table)(context.rows.theta)
        return role_loss(logits, context.rows.theta, context.candidates, expected)[0], (gradient, stats)

    def beliefs(shared: RoleShared, rows: RoleRows) -> tuple[jax.Array, jax.Array]:
        return jax.nn.sigmoid(rows.theta), (rows.theta > 0).astype(rows.theta.dtype)

    return Method(
        init=lambda states, prior: init(states, prior, settings.seed),
        passes=(Pass(loss),),
        update=lambda context, gradient: update(context, gradient, settings.label_rate),
        beliefs=beliefs,
    )


def update(context: Context, gradient: jax.Array, rate: float) -> tuple[RoleShared, RoleRows, dict[str, jax.Array]]:
    """One step of Adam on the batch's rows, the gradient [B, C] with respect to theta; no weight decay."""
    shared, rows = context.shared, context.rows
    result: Any = ADAM.update(gradient, optax.ScaleByAdamState(shared.steps, rows.first, rows.second))
    step, moments = result
    new = RoleRows(rows.theta - rate * step, moments.mu, moments.nu)
    estimated = (new.theta > 0).sum(-1).mean()
    return shared._replace(steps=moments.count), new, {"estimated_positives": estimated}
