"""Golden files of CLS, of Co-teaching and JoCoR, and of ELR."""

import functools
import re
from collections.abc import Iterable

import jax
import jax.numpy as jnp

from ltpml_jax.methods import co_label_selection as cls
from ltpml_jax.methods import coteaching, elr, losses, rows
from tests.layouts.base import Check, Golden, Layout

TOLERANCE = 1e-9
TAU = {"a": (0.05, 0.10), "b": (0.012, 0.06), "c": (0.2, 0.3)}  # the files do not have them
RAMP = 10
CLS_OUTPUT = re.compile(r"(?P<set>.+)__e(?P<epoch>\d+)__(?P<what>Rh_Rl_k1_k2|mask_[fg]|loss_[fg])")
PAIR_OUTPUT = re.compile(
    r"(?P<set>.+)__(?P<kind>coteach_ml|jocor_ml)(?:_lam(?P<lam>[\d.]+))?_fr(?P<rate>[\d.]+)__(?P<what>\w+)"
)
ELR_OUTPUT = re.compile(r"(?P<run>elrml_lam(?P<lam>[\d.]+)_beta(?P<beta>[\d.]+))__step(?P<step>\d+)__(?P<what>\w+)")
ELR_INPUT = re.compile(r"elrml_step\d+__(logits|index|targets)")


def replay_cls(gold: Golden) -> list[Check]:
    """Shares, counts, masks and losses of both networks in every set, after every number of epochs."""
    stems = sorted({name.rpartition("__")[0] for name in gold if CLS_OUTPUT.fullmatch(name)})
    thresholds = tuple((stem, *taus(gold, stem.rsplit("__e", 1)[0])) for stem in stems)
    inputs = {name: value for name, value in gold.items() if not CLS_OUTPUT.fullmatch(name)}
    return [Check(name, value, TOLERANCE) for name, value in cls_outputs(thresholds, inputs).items()]


@functools.partial(jax.jit, static_argnums=0)
def cls_outputs(thresholds: tuple[tuple[str, float, float], ...], gold: Golden) -> dict[str, jax.Array]:
    """All of them as one program; thresholds: stems of outputs with (tau_h, tau_l)."""
    out = {}
    for stem, *pair in thresholds:
        name, epoch = stem.rsplit("__e", 1)
        positives = jnp.asarray(gold[f"{name}__y"]) == 1
        first, second = (losses.bce(jnp.asarray(gold[f"{name}__{z}"]), positives * 1.0) for z in ("zf", "zg"))
        high, low = (cls.removed_share(tau, int(epoch), RAMP) for tau in pair)
        for own, peer, network in ((first, second, "f"), (second, first, "g")):
            kept = cls.select_negatives(own, peer, ~positives, high, low)
            mask = kept.mask | positives
            out |= {f"{stem}__mask_{network}": mask, f"{stem}__loss_{network}": cls.selected_loss(own, mask)}
        out[f"{stem}__Rh_Rl_k1_k2"] = jnp.stack([1 - high, 1 - low, kept.after_high, kept.after_low])
    return out


def taus(gold: Golden, name: str) -> tuple[float, float]:
    """The set's (tau_h, tau_l); for a set that the description does not name, those of its last schedule."""
    if name in TAU:
        return TAU[name]
    last = max(int(match["epoch"]) for match in map(CLS_OUTPUT.fullmatch, gold) if match and match["set"] == name)
    high, low = gold[f"{name}__e{last}__Rh_Rl_k1_k2"][:2]
    scale = min(last / RAMP, 1) or 1
    return float(1 - high) / scale, float(1 - low) / scale


def replay_shared(gold: Golden) -> list[Check]:
    """The three families that share a file."""
    shapes = tuple((name, value.shape) for name, value in gold.items())
    inputs = {name: value for name, value in gold.items() if is_input(name)}
    return [Check(name, value, TOLERANCE) for name, value in shared_outputs(shapes, inputs).items()]


@functools.partial(jax.jit, static_argnums=0)
def shared_outputs(shapes: tuple[tuple[str, tuple[int, ...]], ...], gold: Golden) -> dict[str, jax.Array]:
    """All of them as one program; shapes: those of all arrays of the file."""
    return elr_outputs(dict(shapes), gold) | pair_outputs(dict(shapes), gold)


def pair_outputs(names: Iterable[str], gold: Golden) -> dict[str, jax.Array]:
    """Losses and gradients of Co-teaching and JoCoR at every forget rate."""
    out = {}
    for stem in sorted({name.rpartition("__")[0] for name in names if PAIR_OUTPUT.fullmatch(name)}):
        match = PAIR_OUTPUT.fullmatch(f"{stem}__loss")
        assert match is not None
        first, second, labels = (
            jnp.asarray(gold[f"{match['set']}__{what}"], float) for what in ("logits1", "logits2", "targets")
        )
        if match["kind"] == "jocor_ml":
            got = jocor_outputs(first, second, labels, float(match["lam"]), float(match["rate"]))
        else:
            got = coteaching_outputs(first, second, labels, float(match["rate"]))
        out |= {f"{stem}__{what}": value for what, value in got.items()}
    return out


def jocor_outputs(
    first: jax.Array, second: jax.Array, labels: jax.Array, agreement: float, rate: float
) -> dict[str, jax.Array]:
    """The joint loss and its gradients with respect to either network's logits."""

    def loss(first: jax.Array, second: jax.Array) -> jax.Array:
        each = coteaching.jocor_losses(first, second, labels, agreement)
        return coteaching.mean_over(each, coteaching.small_loss(each, rate))

    value, grads = jax.value_and_grad(loss, (0, 1))(first, second)
    return {"loss": value, "grad1": grads[0], "grad2": grads[1]}


def coteaching_outputs(first: jax.Array, second: jax.Array, labels: jax.Array, rate: float) -> dict[str, jax.Array]:
    """Both losses, and the gradients of their sum: each depends on one network only."""

    def loss(first: jax.Array, second: jax.Array):
        own, other, _ = coteaching.coteaching_losses(first, second, labels, rate)
        return own + other, (own, other)

    (_, each), grads = jax.value_and_grad(loss, (0, 1), has_aux=True)(first, second)
    return {"loss1": each[0], "loss2": each[1], "grad1": grads[0], "grad2": grads[1]}


def elr_outputs(shapes: dict[str, tuple[int, ...]], gold: Golden) -> dict[str, jax.Array]:
    """Steps in order on one memory, from 1/2, for every (lambda, beta)."""
    out = {}
    found = [match for match in map(ELR_OUTPUT.fullmatch, shapes) if match]
    for run, weight, keep in sorted({(match["run"], match["lam"], match["beta"]) for match in found}):
        mine = [match for match in found if match["run"] == run]
        memory = jnp.full(next(shapes[match.group()] for match in mine if match["what"] == "target_after"), 0.5)
        for step in range(1 + max(int(match["step"]) for match in mine)):
            got = elr_step(gold, step, memory, float(weight), float(keep))
            memory = got["target_after"]
            out |= {f"{run}__step{step}__{what}": value for what, value in got.items()}
    return out


def elr_step(gold: Golden, step: int, memory: jax.Array, weight: float, keep: float) -> dict[str, jax.Array]:
    """Loss, its gradient, and the whole memory after one step."""
    logits, index, labels = (jnp.asarray(gold[f"elrml_step{step}__{what}"]) for what in ("logits", "index", "targets"))
    old = rows.gather(memory, index)
    new = elr.remember(old, logits, keep)
    loss, grad = jax.value_and_grad(lambda logits: elr.elr_loss(logits, labels, new, weight).mean())(logits)
    return {
        "loss": loss,
        "grad": grad,
        "target_after": rows.scatter(memory, index, old, new, rows.last_occurrence(index)),
    }


def is_input(name: str) -> bool:
    """Whether an array of a file that the families share is given to the computation."""
    return ELR_INPUT.fullmatch(name) is not None or re.fullmatch(r"[^_]+__(logits[12]|targets)", name) is not None


def is_shared(gold: Golden) -> bool:
    """Whether a file has outputs of Co-teaching, JoCoR or ELR."""
    return any(PAIR_OUTPUT.fullmatch(name) or ELR_OUTPUT.fullmatch(name) for name in gold)


LAYOUTS = (
    Layout(
        matches=lambda gold: any(CLS_OUTPUT.fullmatch(name) for name in gold),
        inputs=lambda name: re.fullmatch(r".+__(zf|zg|y)", name) is not None,
        replay=replay_cls,
    ),
    Layout(
        matches=is_shared,
        inputs=is_input,
        replay=replay_shared,
    ),
)
