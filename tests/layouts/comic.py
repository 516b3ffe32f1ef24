"""COMIC's golden files: its losses and the sequence of its corrector, and its classifiers and attention."""

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ltpml_jax.methods.asymmetric import focal_loss
from ltpml_jax.methods.comic_losses import ComicSettings, head_tail_factor, htb, init_rlc, mfm, rlc
from ltpml_jax.methods.comic_network import Attention, moving_mean, normalised_logits
from ltpml_jax.methods.hill import HillSettings, hill_loss
from tests.layouts.base import Check, Golden, Layout

FLOAT32, FLOAT64, HILL = 1e-5, 1e-6, 1e-9  # methods.md, section 5
RLC_BATCH = 32.0  # the code divides by it whatever the batch is
SHIFTS = {"balanced": 0.0, "head": -1.0, "tail": 2.0}
ELEMENTARY = {
    "focal": lambda logits, labels: focal_loss(logits, labels, "comic"),
    "hill": lambda logits, labels: hill_loss(logits, labels, HillSettings()),
}
BRANCHES = ("head", "tail", "bal")
MFM = re.compile(r"(.+)__(multigrained|priorfocal)_gneg([\d.]+)__loss_f(?:32|64)")
HTB = re.compile(r"(.+)__htb_(multigrained|pfm)_g([\d.]+)__loss_f(?:32|64)")
PLAIN = re.compile(r"(.+)__comic_(focal|hill)__loss_f(?:32|64)")
POWER = re.compile(r".*_weight_pow(\d+)_(\d+)")
LOGITS = re.compile(r"(balanced|head|tail)_nh(\d+)__")


def replay_losses(gold: Golden) -> list[Check]:
    """Factors, MFM, HTB, the two elementary losses, and the corrector's steps in order."""
    factors, groups, cancelled = loss_outputs(tuple(gold), {name: value for name, value in gold.items() if given(name)})
    checks = [Check(name, value, FLOAT32) for name, value in factors.items()]
    for name, value in groups.items():
        checks += both(name, value, HILL if "comic_hill" in name else FLOAT64, float(cancelled.get(name, 1.0)))
    return checks


@functools.partial(jax.jit, static_argnums=0)
def loss_outputs(names: tuple[str, ...], gold: Golden) -> tuple[Golden, Golden, Golden]:
    """As one program: factors, other outputs by name without the type, and how much cancels in some of these."""
    power = {name: match for name in names if (match := POWER.fullmatch(name))}
    count = gold["distribution"] * 1.0
    factors = {name: head_tail_factor(count, int(match[1]) / int(match[2])) for name, match in power.items()}
    values_of, cancelled = {}, {}
    for name, kind, gamma in found(MFM, names):
        value, (grad,) = with_gradient(inner(gold, name, kind, gamma), gold[f"{name}__logits"])
        values_of |= prefixed(f"{name}__{kind}_gneg{gamma}__", {"loss": value, "grad": grad})
    for match in found(HTB, names):
        values, ratios = balancer(gold, *match)
        values_of, cancelled = values_of | values, cancelled | ratios
    for name, kind in found(PLAIN, names):
        labels, function = gold[f"{name}__targets"] * 1.0, ELEMENTARY[kind]
        value, (grad,) = with_gradient(lambda z, f=function, y=labels: f(z, y).sum(), gold[f"{name}__logits"])
        values_of |= prefixed(f"{name}__comic_{kind}__", {"loss": value, "grad": grad})
    initial, steps = corrector(gold)
    return factors | initial, values_of | steps, cancelled


def prefixed(prefix: str, values: Golden) -> Golden:
    """The values under longer names."""
    return {f"{prefix}{name}": value for name, value in values.items()}


def balancer(gold: Golden, name: str, kind: str, gamma: str) -> tuple[Golden, Golden]:
    """HTB of a set with its gradients.

    Those by head and tail, which go through kappa, are proportional to the difference A - B of the two guided losses:
    what either loses to rounding counts A / |A - B| times in them (some hundred times; the file's float32 arrays are
    off by 2e-4 from its float64 ones), so that their tolerance follows that ratio.
    """
    head, tail, balanced = (jnp.asarray(gold[f"{name}__htb_{branch}"], float) for branch in BRANCHES)
    loss, prefix = inner(gold, name, kind, gamma), f"{name}__htb_{kind}_g{gamma}__"
    value, grads = with_gradient(lambda *z: htb(*z, loss)[0], head, tail, balanced)
    by_head, by_tail = (htb(guide, guide, balanced, loss)[0] for guide in (head, tail))
    ratio = by_head / jnp.abs(by_head - by_tail)
    values = {"loss": value, "grad_bal": grads[2], "grad_head": grads[0], "grad_tail": grads[1]}
    return prefixed(prefix, values), prefixed(prefix, {"grad_head": ratio, "grad_tail": ratio})


def inner(gold: Golden, name: str, kind: str, gamma: str) -> Callable[[jax.Array], jax.Array]:
    """MFM of a set, summed, in one of the code's two forms."""
    prior = kind != "multigrained"
    settings = ComicSettings(gamma_neg=float(gamma), exponent=1 / 3 if prior else 1 / 6)
    labels, count = gold[f"{name}__targets"] * 1.0, gold["distribution"] * 1.0
    cooc = jnp.asarray(gold["cooc_counts"]) if prior else None
    return lambda logits: mfm(logits, jnp.asarray(labels), jnp.asarray(count), settings, cooc).sum()


def corrector(gold: Golden) -> tuple[Golden, Golden]:
    """The first factor of RLC, and its steps in order, from the observed counts."""
    if "rlc_seq_epochs" not in gold:
        return {}, {}
    count, settings = jnp.asarray(gold["distribution"] * 1.0), ComicSettings()
    state, out = init_rlc(count), {}
    for number in range(len(gold["rlc_seq_epochs"])):
        epoch = jnp.int32(gold["rlc_seq_epochs"][number])
        logits, labels = (jnp.asarray(gold[f"rlc{number}__{part}"] * 1.0, float) for part in ("logits", "targets"))
        (loss, state), grad = jax.value_and_grad(
            lambda z, y=labels, at=state, e=epoch: rlc(z, y, e, count, at, settings, RLC_BATCH), has_aux=True
        )(logits)
        factor = head_tail_factor(state.distribution, settings.rlc_exponent)
        values = {"loss": loss, "grad": grad, "weight_after": factor, "distribution_after": state.distribution}
        out |= prefixed(f"rlc{number}__", values)
    return {"rlc_weight_init": head_tail_factor(count, settings.rlc_exponent)}, out


def replay_network(gold: Golden) -> list[Check]:
    """Normalised classifiers with and without the moving vector, attention, and the moving mean's steps."""
    inputs = {name: value for name, value in gold.items() if given(name)}
    return [Check(name, value, FLOAT32) for name, value in network_outputs(tuple(gold), inputs).items()]


@functools.partial(jax.jit, static_argnums=0)
def network_outputs(names: tuple[str, ...], gold: Golden) -> Golden:
    """All of them as one program."""
    out = {}
    for kind, groups in sorted({match.groups() for name in names if (match := LOGITS.match(name))}):
        out |= branch_outputs(gold, kind, int(groups))
    if "attn__keys" in gold:
        out |= attention_outputs(gold)
    moving = jnp.zeros(())
    for number in range(sum(bool(re.fullmatch(r"embed_step\d+", name)) for name in names)):
        moving = out[f"embed_step{number}"] = moving_mean(moving, gold[f"embed_step{number}_feat"] * 1.0)
    return out


def branch_outputs(gold: Golden, kind: str, groups: int) -> Golden:
    """Logits of one branch, and the gradients of its moved logits times v."""
    moving = None if kind == "balanced" else jnp.asarray(gold["embed"], float)
    features, weight = (jnp.asarray(gold[name], float) for name in ("x", "weight"))

    def moved(x: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = normalised_logits(x, w, 16.0, groups, moving, SHIFTS[kind])
        return (logits * gold["v"]).sum(), logits

    (_, logits), (x, w) = jax.value_and_grad(moved, (0, 1), has_aux=True)(features, weight)
    plain = normalised_logits(features, weight, 16.0, groups)
    out = {"z": plain, "zmoving": logits, "gx_zmoving": x, "gw_zmoving": w}
    return prefixed(f"{kind}_nh{groups}__", out)


def attention_outputs(gold: Golden) -> Golden:
    """The network's own attention with a file's weights (torch has them transposed), in evaluation mode."""
    hidden, width = gold["attn__Wq"].shape
    attention = Attention(width, hidden, 0.1, nnx.Rngs(0))
    for layer, name in ((attention.query, "Wq"), (attention.key, "Wk"), (attention.score, "wv")):
        layer.kernel[...] = jnp.asarray(gold[f"attn__{name}"].T, jnp.float32)
    keys = jnp.asarray(gold["attn__keys"])
    out, weights = attention(jnp.asarray(gold["x"]), keys, train=False, dropout_key=None)
    return {"attn__out": out, "attn__weights": weights[:, None]}


def found(pattern: re.Pattern[str], names: Iterable[str]) -> list[tuple[Any, ...]]:
    """What the pattern's groups match in a file's names, each once."""
    return sorted({match.groups() for name in names if (match := pattern.fullmatch(name))})


def with_gradient(function: Callable[..., jax.Array], *logits: Any) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """A loss of logits, and its gradient by each of them."""
    places = tuple(range(len(logits)))
    return jax.value_and_grad(function, places)(*(jnp.asarray(one, float) for one in logits))


def both(name: str, value: Any, double: float, ratio: float) -> list[Check]:
    """A value for the file's float32 and float64 arrays of it; ratio: how much cancels in them."""
    tolerances = {"f32": max(FLOAT32, 1e-6 * ratio), "f64": max(double, 1e-9 * ratio)}
    return [Check(f"{name}_{kind}", value, tolerance) for kind, tolerance in tolerances.items()]


def given(name: str) -> bool:
    """Whether an array of either layout is an input."""
    parts = ("__logits", "__targets", "__targets_full", "__htb_head", "__htb_tail", "__htb_bal", "_feat")
    alone = {"distribution", "cooc_counts", "rlc_seq_epochs", "weight", "x", "v", "embed"}
    return name in alone | {"attn__Wk", "attn__Wq", "attn__wv", "attn__keys"} or name.endswith(parts)


LAYOUTS = (
    Layout(lambda gold: any(MFM.match(name) for name in gold) or "rlc_seq_epochs" in gold, given, replay_losses),
    Layout(lambda gold: any(LOGITS.match(name) for name in gold) or "attn__keys" in gold, given, replay_network),
)
