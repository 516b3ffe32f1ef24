"""Golden files of losses of one network: ASL, Hill and SPLC, P-ASL, single positives, PU-MLC, and the DB family.

Names are SET__VARIANT__WHAT_TYPE, SET__INPUT, or an array of the whole file; variants carry their parameters.
"""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ltpml_jax.methods import assume_negative, asymmetric, hill, losses, pu_mlc, role
from ltpml_jax.methods.priors import Prior
from tests.helpers.compiled import compiled
from tests.layouts.base import Check, Golden, Layout, deviation

Arrays = dict[str, jax.Array]
# (variant, inputs of a set with those of the whole file) -> outputs by name; None for a variant that is not known.
Compute = Callable[[str, Arrays], dict[str, Any] | None]
OUTPUT = re.compile(r"(.+?)__(.+)__(loss|grad|elem|reg|gradest)_(f32|f64)")
DB = {
    20: losses.DBSettings(0.05, 5.0, 0.1, 10.0, 0.3),  # VOC
    80: losses.DBSettings(0.05, 2.0, 0.1, 10.0, 0.2),  # COCO
}


class Wanted(NamedTuple):
    """An output that a file holds: of which set and variant, what of it, and in which type."""

    group: str
    variant: str
    what: str
    dtype: str


def parse(name: str) -> Wanted | None:
    """The parts of an output's name; None for other names."""
    found = OUTPUT.fullmatch(name)
    return Wanted(*found.groups()) if found else None


def replay(gold: Golden, compute: Compute, tolerance: Callable[[str], float]) -> list[Check]:
    """Compare every variant of every set; `tolerance` of float64 results by variant.

    A `_f32` array that has a `_f64` twin is compared with our float32 result, at 1e-5 and twice the rounding that the
    two files' arrays show: the originals take 1 - p in float32, which the package does not.
    """
    inputs = {name: value for name, value in gold.items() if parse(name) is None}
    checks = []
    for name, got in outputs(compute, tuple(name for name in gold if parse(name)), inputs).items():
        wanted, twin = parse(name), f"{name[:-3]}f64"
        assert wanted is not None
        above = 1e-5 + 2 * deviation(gold[name], gold[twin]) if twin in gold else 1e-5
        checks.append(Check(name, got, tolerance(wanted.variant) if wanted.dtype == "f64" else above))
    return checks


@functools.partial(jax.jit, static_argnums=(0, 1))
def outputs(compute: Compute, names: tuple[str, ...], inputs: Golden) -> dict[str, Any]:
    """Those of these outputs that are known, as one program."""

    @functools.cache
    def computed(group: str, variant: str, dtype: str) -> dict[str, Any]:
        kind = jnp.float32 if dtype == "f32" else jnp.float64
        own = {name.removeprefix(f"{group}__"): value for name, value in inputs.items()}
        given = {name: jnp.asarray(value, kind) for name, value in own.items() if "__" not in name}
        return compute(variant, given) or {}

    found = {}
    for name in names:
        wanted = parse(name)
        assert wanted is not None
        dtype = wanted.dtype if f"{name[:-3]}f64" in names else "f64"
        found[name] = computed(wanted.group, wanted.variant, dtype).get(wanted.what)
    return {name: got for name, got in found.items() if got is not None}


def scored(loss: Callable[[jax.Array], jax.Array], logits: jax.Array) -> dict[str, Any]:
    """A scalar loss of logits and its gradient."""
    value, grad = jax.value_and_grad(loss)(logits)
    return {"loss": value, "grad": grad}


def tenths(digits: str) -> float:
    """065 -> 0.65, 1 -> 1, 15 -> 1.5: the point is after the first digit."""
    return float(f"{digits[0]}.{digits[1:]}0") if "." not in digits else float(digits)


def asl(variant: str, given: Arrays) -> dict[str, Any] | None:
    """asl_NAME_gA_B_cM (A negatives, B positives, M decimals of the clip), asl_bce, asl_focalG, aslopt_gradfocal_*."""
    kind, rest = re.fullmatch(r"(aslopt_gradfocal|asl)_(.+)", variant).groups()  # type: ignore[union-attr]
    numbers = re.fullmatch(r"(?:.*_)?g([\d.]+)_([\d.]+)_c(\d+)", rest)
    same = re.fullmatch(r"focal([\d.]+)|bce", rest)
    if numbers:
        gamma_neg, gamma_pos, clip = float(numbers[1]), float(numbers[2]), float(f"0.{numbers[3]}")
    elif same:
        gamma_neg, gamma_pos, clip = *(2 * [float(same[1] or 0)]), 0.0
    else:
        return None
    settings = asymmetric.ASLSettings(gamma_neg, gamma_pos, clip, kind != "asl")
    return scored(lambda z: asymmetric.asl_loss(z, given["targets"], settings).sum(), given["logits"])


def hill_splc(variant: str, given: Arrays) -> dict[str, Any] | None:
    """hill, hill_mM (margin), splc_tauT_epE."""
    margin, recall = re.fullmatch(r"hill(?:_m([\d.]+))?", variant), re.fullmatch(r"splc_tau([\d.]+)_ep(\d+)", variant)
    if margin:
        shape = hill.HillSettings(margin=tenths(margin[1] or "1"))
        return scored(lambda z: hill.hill_loss(z, given["targets"], shape).sum(), given["logits"])
    if recall:
        found, epoch = hill.SPLCSettings(threshold=tenths(recall[1])), int(recall[2])
        return scored(lambda z: hill.splc_loss(z, given["targets"], epoch, found).sum(), given["logits"])
    return None


def pasl(variant: str, given: Arrays) -> dict[str, Any] | None:
    """negative_def, ignore, ignore_norm, selective_kK, selective_kK_clip, selective_prior; posunk_: labels 1, -1."""
    name = variant.removeprefix("posunk_")
    few = {"negative_def": "negative", "ignore": "ignore", "ignore_norm": "ignore_normalize_classes"}
    chosen = re.fullmatch(r"selective_(?:k(\d+)(_clip)?|prior)", name)
    if name in few:
        settings = asymmetric.PASLSettings(few[name], 0.0, 1.0, 2.0, 0.0, annotated_negatives=True)
    elif chosen:
        gamma_neg, clip = (3.0, 0.05) if chosen[2] else (1.0, 0.0)
        limit = 0.1 if name == "selective_prior" else 1.0
        settings = asymmetric.PASLSettings("selective", 0.0, gamma_neg, 4.0, clip, int(chosen[1] or 1), limit)
    else:
        return None
    targets = given["targets_posunk" if name != variant else "targets"]
    positive, negative = ((targets == kind).astype(targets.dtype) for kind in (1, 0))
    share = given.get("prior", jnp.zeros(targets.shape[1]))
    return scored(
        lambda z: asymmetric.pasl_loss(z, positive, negative, share, settings).sum(),
        given["logits"],
    )


def single_positive(variant: str, given: Arrays) -> dict[str, Any] | None:
    """an, an_ls, wan, epr_kK, role_kK."""
    logits, labels = given["logits"], given["obs_single"]
    smooth = assume_negative.smoothed(labels, assume_negative.ANLSSettings().smoothing)
    weights = {"an": (labels, 1.0), "an_ls": (smooth, 1.0), "wan": (labels, 1 / (labels.shape[1] - 1))}
    if variant in weights:
        target, weight = weights[variant]
        return scored(lambda z: assume_negative.assume_negative(z, target, weight).mean(), logits) | {"reg": 0.0}
    found = re.fullmatch(r"(epr|role)_k([\d.]+)", variant)
    if not found:
        return None
    expected = float(found[2])
    if found[1] == "epr":
        regulariser = assume_negative.surplus(jax.nn.sigmoid(logits), expected)
        return scored(lambda z: assume_negative.epr_loss(z, labels, expected), logits) | {"reg": regulariser}
    theta = given["est_logits"]
    regulariser = role.role_loss(logits, theta, labels, expected)[1]
    estimate = jax.grad(lambda t: role.role_loss(logits, t, labels, expected)[0])(theta)
    return scored(lambda z: role.role_loss(z, theta, labels, expected)[0], logits) | {
        "reg": regulariser,
        "gradest": estimate,
    }


def vpu(variant: str, given: Arrays) -> dict[str, Any] | None:
    """NAME_gG_aA."""
    found = re.fullmatch(r"(?:.*_)?g([\d.]+)_a([\d.]+)", variant)
    if not found:
        return None
    gamma, alpha = map(tenths, found.groups())
    labels = (given["targets"] == 1).astype(given["logits"].dtype)
    return scored(lambda z: pu_mlc.vpu_loss(z, labels, gamma, alpha), given["logits"])


def published(prior: Prior, bias: np.ndarray | None) -> losses.DBSettings:
    """VOC's settings or COCO's: those that the file's logit offset is nearest to; without it, by the classes."""
    if bias is None:
        return DB[min(DB, key=lambda classes: abs(classes - len(prior.class_count)))]
    return min(DB.values(), key=lambda db: float(np.abs(np.asarray(class_bias(prior, db)) - bias).max()))


def db_family(variant: str, given: Arrays, db: losses.DBSettings) -> dict[str, Any] | None:
    """All losses of the DB paper's code, the element-wise ones too; each loss is the mean of its elements."""
    prior, labels = counts(given), given["targets"]
    plain = db._replace(init_bias=0.0, neg_scale=1.0)  # the re-balancing weight alone
    elements: dict[str, Callable[[jax.Array], jax.Array]] = {
        "db": lambda z: losses.db(z, labels, prior, db),
        "db_focal": lambda z: losses.db_focal(z, labels, prior, db),
        "rebalance_bce": lambda z: losses.db(z, labels, prior, plain),
        "rebalance_focal": lambda z: losses.db_focal(z, labels, prior, plain),
        "focal": lambda z: asymmetric.focal_loss(z, labels, "db"),
        "focalloss_class": lambda z: asymmetric.focal_loss(z, labels, "comic"),
        "cb_focal": lambda z: losses.class_balanced_weight(prior, 0.9)[None] * asymmetric.focal_loss(z, labels, "db"),
        "bce": lambda z: losses.bce(z, labels),
        "bce_class": lambda z: losses.bce(z, labels),
    }
    if variant not in elements:
        return None
    element = elements[variant]
    return scored(lambda z: element(z).mean(), given["logits"]) | {"elem": element(given["logits"])}


DB_FAMILIES = {db: functools.partial(db_family, db=db) for db in DB.values()}
class_bias = compiled(losses.class_bias)


def counts(given: dict[str, Any]) -> Prior:
    """Class counts and number of images of a file of the DB family."""
    return Prior(given["class_freq"] * 1.0, (given["class_freq"] + given["neg_class_freq"])[0] * 1.0)


def replay_db(gold: Golden) -> list[Check]:
    """The losses, and the weights and offsets that they are made of."""
    prior = counts(gold)
    db = published(prior, gold.get("init_bias"))
    whole = [
        Check("init_bias", class_bias(prior, db), 1e-5),
        Check("freq_inv", compiled(losses.inverse_frequency)(prior), 1e-5),
    ]
    for name in gold:
        if name.endswith("__rebalance_weight"):
            labels = jnp.asarray(gold[f"{name.removesuffix('rebalance_weight')}targets"], float)
            whole.append(Check(name, compiled(losses.rebalancing_weight)(labels, prior, db), 1e-5))
    return whole + replay(gold, DB_FAMILIES[db], lambda variant: 1e-5)


def layout(pattern: str, compute: Compute, tolerance: Callable[[str], float] = lambda variant: 1e-9) -> Layout:
    """A layout that is known by the names of its variants."""
    known = re.compile(pattern)
    return Layout(
        matches=lambda gold: any((found := parse(name)) and known.fullmatch(found.variant) for name in gold),
        inputs=lambda name: parse(name) is None,
        replay=lambda gold: replay(gold, compute, tolerance),
    )


LAYOUTS = (
    Layout(
        matches=lambda gold: "neg_class_freq" in gold,
        inputs=lambda name: name.endswith(("class_freq", "__logits", "__targets")),
        replay=replay_db,
    ),
    layout(r"(asl|aslopt_gradfocal)_.+", asl),
    layout(r"hill(_m.+)?|splc_.+", hill_splc),
    layout(r"(posunk_)?(ignore|negative_def|selective).*", pasl, lambda v: 1e-6 if v.endswith("ignore_norm") else 1e-9),
    layout(r"an|an_ls|wan|epr_k.+|role_k.+", single_positive),
    layout(r"(.*_)?g[\d.]+_a[\d.]+", vpu, lambda variant: 1e-6),
)
