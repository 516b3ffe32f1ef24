"""Co-teaching, Co-teaching+ and JoCoR in multi-label form: two networks that learn from images with a small loss.

The originals are for one label an image (Han et al., NeurIPS 2018; Yu et al., ICML 2019; Wei et al., CVPR 2020). Here,
as in the comparison of CLS, the loss of an image is the mean of its labels' binary cross-entropies, candidates as
labels, and images are selected whole. The released losses divide a mean by the number of images once more, and
Co-teaching+ applies a softmax twice and skips image 0; neither is done here.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from ltpml_jax.methods import losses
from ltpml_jax.methods.base import Context, Forward, Method, Pass, Plan
from ltpml_jax.methods.pairs import PREDICTIONS, remaining, smallest
from ltpml_jax.methods.settings import BELOW_ONE, SHARE, between


class SmallLossSettings(NamedTuple):
    """Settings of small-loss selection, shared by Co-teaching, Co-teaching+ and JoCoR."""

    forget_rate: Annotated[float, BELOW_ONE, "share of a batch's images that is left out in the end"] = 0.2
    ramp_epochs: Annotated[int, between(1, 10**6), "E_k: epochs over which the share grows from 0, linearly"] = 10


class CoteachingPlusSettings(NamedTuple):
    """Settings of Co-teaching+."""

    warmup: Annotated[float, BELOW_ONE, "share of the epochs that begin as plain Co-teaching; 20 of 200 published"] = (
        0.1
    )
    all_images_steps: Annotated[
        int, between(0, 10**9), "so many steps, a batch without disagreement trains on all its images; later on none"
    ] = 5000


class JoCoRSettings(NamedTuple):
    """Settings of JoCoR."""

    agreement: Annotated[float, SHARE, "lambda: weight of the divergence between the networks; 0.1 to 0.9"] = 0.9


def forget_rate(settings: SmallLossSettings, epoch: jax.Array | int) -> jax.Array:
    """R(e) [] of an epoch counted from 0: linspace(0, rate, E_k), then the rate."""
    ramp = jnp.asarray(epoch, jnp.result_type(float)) / max(settings.ramp_epochs - 1, 1)
    return settings.forget_rate * jnp.minimum(ramp, 1)


def small_loss(ranking: jax.Array, rate: jax.Array | float, among: jax.Array | None = None) -> jax.Array:
    """Bool [B]: the floor((1 - rate) n) images with the smallest loss ranking [B], of n in `among` (None: all)."""
    among = jnp.ones(ranking.shape, bool) if among is None else among
    return smallest(ranking, among, remaining(among.sum(), rate))


def mean_over(loss: jax.Array, chosen: jax.Array) -> jax.Array:
    """Mean [] of loss [B] over the chosen images bool [B]; 0 without any."""
    return jnp.where(chosen, loss, 0).sum() / jnp.maximum(chosen.sum(), 1)


def image_losses(first: jax.Array, second: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean binary cross-entropy of each image [B] under both networks' logits [B, C]."""
    return losses.bce(first, labels).mean(-1), losses.bce(second, labels).mean(-1)


def coteaching_losses(
    first: jax.Array, second: jax.Array, labels: jax.Array, rate: jax.Array | float, among: jax.Array | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(loss of the first network [], of the second [], images that both learn from bool [B]).

    Each is the mean over the images that the other network finds easiest, of those in `among` bool [B] (None: all).
    """
    own, other = image_losses(first, second, labels)
    easy_for_other, easy_for_own = small_loss(other, rate, among), small_loss(own, rate, among)
    return mean_over(own, easy_for_other), mean_over(other, easy_for_own), easy_for_own & easy_for_other


def disagreement(first: jax.Array, second: jax.Array) -> jax.Array:
    """Bool [B]: images of which the networks' thresholded labels (probability above 1/2) differ in some class."""
    return ((first > 0) != (second > 0)).any(-1)


def jocor_losses(first: jax.Array, second: jax.Array, labels: jax.Array, agreement: jax.Array | float) -> jax.Array:
    """JoCoR's loss of each image [B]: (1 - lambda) (bce + bce') + lambda (KL(p|p') + KL(p'|p)), means over classes.

    The sum of the two divergences between Bernoulli variables is (p - p') (z - z'); both arguments are differentiated.
    """
    own, other = image_losses(first, second, labels)
    dtype = own.dtype
    first, second = first.astype(dtype), second.astype(dtype)
    divergence = ((jax.nn.sigmoid(first) - jax.nn.sigmoid(second)) * (first - second)).mean(-1)
    return (1 - agreement) * (own + other) + agreement * divergence


def coteaching(settings: SmallLossSettings, plan: Plan) -> Method:
    """Co-teaching: each network learns from the images that the other finds easy. See `pairs` on the optimiser."""

    def loss(context: Context, first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
        rate = forget_rate(settings, context.epoch)
        own, other, both = coteaching_losses(first, second, context.candidates, rate)
        return own + other, both.sum()

    return _pair_method(loss)


def coteaching_plus(settings: SmallLossSettings, plus: CoteachingPlusSettings, plan: Plan) -> Method:
    """Co-teaching+: after a warm-up as Co-teaching, among the images on which the networks disagree.

    With n of these, floor((1 - R) n) are chosen: none, and no gradient, where that is 0. A batch without disagreement
    counts whole, without selection, in the first `all_images_steps` applied steps, and not at all later. It shares the
    number of applied steps.
    """

    def loss(context: Context, first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
        differ = disagreement(first, second)
        warm = context.epoch < plus.warmup * plan.epochs
        rate = jnp.where(warm | differ.any(), forget_rate(settings, context.epoch), 0)
        among = jnp.where(differ.any(), differ, context.shared < plus.all_images_steps) | warm
        own, other, both = coteaching_losses(first, second, context.candidates, rate, among)
        return own + other, both.sum()

    return _pair_method(loss)


def jocor(settings: SmallLossSettings, joint: JoCoRSettings, plan: Plan) -> Method:
    """JoCoR: one loss for both networks, which also pulls them together, on the images where it is small."""

    def loss(context: Context, first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
        each = jocor_losses(first, second, context.candidates, joint.agreement)
        chosen = small_loss(each, forget_rate(settings, context.epoch))
        return mean_over(each, chosen), chosen.sum()

    return _pair_method(loss)


def _pair_method(loss: Callable[[Context, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]) -> Method:
    """A method of one pass over two networks; it shares the number of steps that were applied."""

    def both(forward: Forward, context: Context, carry: None):
        outputs, stats = forward(context.images, None, context.keys.dropout)
        value, selected = loss(context, *outputs)
        return value, (selected, stats)

    return Method(
        init=lambda states, prior: (jnp.int32(0), ()),
        passes=(Pass(both),),
        update=lambda context, selected: (context.shared + 1, (), {"selected_by_both": selected}),
        network=lambda blocks: blocks.pair(),
        predictions=PREDICTIONS,
    )
