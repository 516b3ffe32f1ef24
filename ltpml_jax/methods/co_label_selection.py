"""CLS, Co-Label Selection: two networks that choose the assumed negatives from which the other, and itself, learns.

Written from the equations of the paper, eq. (1)-(8) and Algorithm 1; there is no released code. A label of 0 (negative
or unknown) is an assumed negative; all others are positives and always count.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from ltpml_jax.methods import losses
from ltpml_jax.methods.base import Context, Forward, Method, Pass, Plan
from ltpml_jax.methods.pairs import PREDICTIONS, remaining, smallest
from ltpml_jax.methods.settings import BELOW_ONE, between


class CLSSettings(NamedTuple):
    """Settings of CLS (Co-Label Selection)."""

    tau_h: Annotated[
        float, BELOW_ONE, "share of negatives that the other network finds hardest; VOC .002 to .005, COCO .005 to .012"
    ] = 0.005
    tau_l: Annotated[
        float, BELOW_ONE, "share of the rest that the network itself finds easiest; VOC .02, COCO and NUS-WIDE .06"
    ] = 0.02
    ramp_epochs: Annotated[int, between(1, 10**6), "E_k: finished epochs until both shares are removed in full"] = 10


class Kept(NamedTuple):
    """Which negatives one network learns from.

    mask: bool [B, C]. total, after_high, after_low: how many there are, and how many each step leaves: n, k1, k2, [].
    """

    mask: jax.Array
    total: jax.Array
    after_high: jax.Array
    after_low: jax.Array


def removed_share(tau: float, epoch: jax.Array | int, ramp_epochs: int) -> jax.Array:
    """min(e / E_k * tau, tau) of e finished epochs: 1 - R(e) in the paper. The first epoch removes nothing."""
    return tau * jnp.minimum(jnp.asarray(epoch, jnp.result_type(float)) / ramp_epochs, 1)


def select_negatives(
    own: jax.Array, peer: jax.Array, negatives: jax.Array, high: jax.Array | float, low: jax.Array | float
) -> Kept:
    """The negatives that a network learns from, ranked over the whole batch, eq. (3)-(6).

    own, peer: losses [B, C] of the network itself and of the other one; negatives: bool [B, C], and what is outside of
    it is neither kept nor counted. The share `high` with the largest loss under the other network is removed first
    (likely positives that were missed), and then, of what is left, the share `low` with the smallest loss of its own.
    """
    total = negatives.sum()
    after_high = remaining(total, high)
    trusted = smallest(peer, negatives, after_high)
    after_low = remaining(after_high, low)
    return Kept(smallest(-own, trusted, after_low), total, after_high, after_low)


def selected_loss(loss: jax.Array, kept: jax.Array) -> jax.Array:
    """Sum of the losses [B, C] over the kept labels bool [B, C], divided by B; eq. (7), (8)."""
    return jnp.where(kept, loss, 0).sum() / loss.shape[0]


def cls(settings: CLSSettings, plan: Plan) -> Method:
    """Co-Label Selection. Its headline is the mean probability of its two networks.

    Trains both under one optimiser: see `pairs`. Metrics, in labels of the batch: removed_high (by the other network)
    and removed_low (by the network itself), the same numbers for both, and the negatives that both learn from.
    """

    def loss(forward: Forward, context: Context, carry: None):
        outputs, stats = forward(context.images, None, context.keys.dropout)
        first, second = (losses.bce(logits, context.candidates) for logits in outputs)
        shares = [removed_share(tau, context.epoch, settings.ramp_epochs) for tau in (settings.tau_h, settings.tau_l)]
        negatives = context.candidates == 0
        for_first = select_negatives(first, second, negatives, *shares)
        for_second = select_negatives(second, first, negatives, *shares)
        total = selected_loss(first, for_first.mask | ~negatives) + selected_loss(second, for_second.mask | ~negatives)
        return total, (_counts(for_first, for_second), stats)

    return Method(
        init=lambda states, prior: ((), ()),
        passes=(Pass(loss),),
        update=lambda context, counts: ((), (), counts),
        network=lambda blocks: blocks.pair(),
        predictions=PREDICTIONS,
    )


def _counts(first: Kept, second: Kept) -> dict[str, jax.Array]:
    return {
        "removed_high": first.total - first.after_high,
        "removed_low": first.after_high - first.after_low,
        "kept_by_both": (first.mask & second.mask).sum(),
    }
