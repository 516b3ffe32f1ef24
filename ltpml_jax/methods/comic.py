"""COMIC: three branches that correct missing labels (RLC), focus by class (MFM) and balance head and tail (HTB).

The training step that the released code had before its last edit, with its constants; the paper's reading is a matter
of settings. Its losses are in comic_losses.py, its network in comic_network.py; docs/differences.md says where paper
and code differ. Observed labels are `context.candidates`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ltpml_jax.methods.base import Context, Forward, Method, Pass, Plan
from ltpml_jax.methods.comic_losses import ComicSettings, RLCState, cooccurrence, htb, init_rlc, mfm, rlc
from ltpml_jax.methods.comic_network import Branches, ComicNetwork, ComicOutputs, moving_mean, normalised_logits
from ltpml_jax.methods.label_states import listed

HEAD_SHIFT = -1.0  # the head takes its moving vector's direction out of a feature


class ComicShared(NamedTuple):
    """What all images share: observed counts N float [C]; co-occurrence counts float [C, C] (None where they are not
    used); a corrector's state and a moving vector float [D] by branch (the balanced vector is kept, but not used).
    """

    count: jax.Array
    cooc: jax.Array | None
    correctors: Branches
    moving: Branches


class ComicCarry(NamedTuple):
    """The state after the step, and HTB's weight [] of the head."""

    shared: ComicShared
    kappa: jax.Array


def comic(settings: ComicSettings, plan: Plan) -> Method:
    """Assemble COMIC. Raises ValueError for groups that do not divide the features."""
    if settings.feature_width % settings.groups:
        raise ValueError(
            f"config.comic.groups is {settings.groups}; it must divide config.comic.feature_width, "
            f"which is {settings.feature_width}"
        )

    def total(forward: Forward, context: Context, carry: None):
        outputs, stats = forward(context.images, None, context.keys.dropout)
        loss, carried = objective(outputs, context.candidates, context.epoch + 1, context.shared, settings)
        return loss, (carried, stats)

    return Method(
        init=lambda states, prior: (init(states, settings), ()),
        passes=(Pass(total),),
        update=lambda context, carry: (carry.shared, (), diagnostics(carry)),
        network=lambda blocks: ComicNetwork(blocks, settings),
        predictions={
            "balanced": lambda outputs: outputs.logits.balanced,
            "head": lambda outputs: outputs.logits.head,
            "tail": lambda outputs: outputs.logits.tail,
        },
    )


def init(states: jax.Array, settings: ComicSettings) -> ComicShared:
    """The state before training, of label states int8 [N, C]; counts are of positives and candidates."""
    observed = listed(states)
    dtype = jnp.result_type(float)
    count = observed.sum(0, dtype=jnp.int32).astype(dtype)
    return ComicShared(
        count=count,
        cooc=cooccurrence(observed).astype(dtype) if settings.cooc else None,
        correctors=Branches(*(init_rlc(count) for _ in range(3))),
        moving=Branches(*(jnp.zeros(settings.feature_width, dtype) for _ in range(3))),
    )


def objective(
    outputs: ComicOutputs, labels: jax.Array, epoch: jax.Array, shared: ComicShared, settings: ComicSettings
) -> tuple[jax.Array, ComicCarry]:
    """The loss [] of a batch with observed labels [B, C] in an epoch counted from 1, and the state after it.

    lambda_m MFM of each branch's logits + lambda_c RLC of their moved logits + lambda_b HTB. The sum has the gradients
    of the code's three backward passes: the balanced loss reaches head and tail through attention and kappa.
    """
    moving = Branches(*map(moving_mean, shared.moving, outputs.features))
    logits = moved_logits(outputs, moving, settings)

    def loss(one: jax.Array) -> jax.Array:
        return mfm(one, labels, shared.count, settings, shared.cooc).sum()

    def correct(one: jax.Array, state: RLCState) -> tuple[jax.Array, RLCState]:
        return rlc(one, labels, epoch, shared.count, state, settings, len(labels))

    corrections = [correct(one, state) for one, state in zip(logits, shared.correctors, strict=True)]
    balance, kappa = htb(*logits, loss, settings.detach_kappa)
    total = settings.mfm_weight * sum(map(loss, outputs.logits)) + settings.htb_weight * balance
    total += settings.rlc_weight * sum(value for value, _ in corrections)
    new = shared._replace(correctors=Branches(*(state for _, state in corrections)), moving=moving)
    return total, ComicCarry(new, kappa)


def moved_logits(outputs: ComicOutputs, moving: Branches, settings: ComicSettings) -> Branches:
    """Logits [B, C] that RLC and HTB read: head and tail shifted along their moving vectors, the balanced as it is."""

    def shifted(name: str, shift: float) -> jax.Array:
        features, weight, vector = (getattr(one, name) for one in (outputs.features, outputs.weights, moving))
        return normalised_logits(features, weight, settings.scale, settings.groups, vector, shift)

    return Branches(
        shifted("head", HEAD_SHIFT), shifted("tail", settings.tail_shift), outputs.logits.balanced
    )  # fmt: skip


def diagnostics(carry: ComicCarry) -> dict[str, jax.Array]:
    """What is worth logging: labels recalled since the epoch began, in the balanced branch, and kappa of the head."""
    recalled = carry.shared.correctors.balanced.distribution - carry.shared.count
    return {"recalled": recalled.sum(), "kappa_head": carry.kappa}
