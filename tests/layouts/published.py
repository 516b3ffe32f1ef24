"""Golden files of published measures, and of published generators of weak labels."""

import re

import numpy as np

from ltpml_jax.data import published_corruption as drawn
from ltpml_jax.data.labels import LabelState
from ltpml_jax.evaluation import published_metrics as metrics
from tests.layouts.base import Check, Golden, Layout

TOLERANCE = 1e-9
METRICS = re.compile(r"(?P<set>.+)__(mAP_total_many_medium_few|OP_OR_OF1_CP_CR_CF1|ap_mlgcn|mAP|ap)")
SPML = re.compile(r"(.+__)?spml_.*seed(?P<seed>\d+)")
HCP = re.compile(r"(.+__)?hcp_keep_p?(?P<share>\d[\d.]*)_(np)?seed(?P<seed>\d+)")
NDLP = re.compile(r"(.+__)?ndlp_(?P<what>candidates|input_mutated)_q(?P<rate>\d[\d.]*)(_npseed(?P<seed>\d+))?")


def replay_metrics(gold: Golden) -> list[Check]:
    """COMIC's measures of the probabilities and ML-GCN's of the logits, for every set."""
    checks = []
    for name in sorted({match["set"] for match in map(METRICS.fullmatch, gold) if match}):
        targets, counts = gold[f"{name}__targets"], gold[f"{name}__train_counts"]
        scores, logits = gold[f"{name}__probs"], gold[f"{name}__logits"]
        shots = metrics.comic_shot_map(scores, targets, counts)
        got = {
            "ap": metrics.comic_average_precision(scores, targets),
            "mAP": shots["total"],
            "mAP_total_many_medium_few": [shots[group] for group in ("total", "many", "medium", "few")],
            "ap_mlgcn": metrics.mlgcn_average_precision(logits, targets),
            "OP_OR_OF1_CP_CR_CF1": list(metrics.mlgcn_f1(logits, targets).values()),
        }
        checks += [Check(f"{name}__{what}", value, TOLERANCE) for what, value in got.items()]
    return checks


def replay_corruption(gold: Golden) -> list[Check]:
    """Every table that a published generator drew, in its own coding."""
    checks = []
    for name in gold:
        labels = gold[f"{name.rpartition('__')[0]}__labels" if "__" in name else "labels"]
        if match := SPML.fullmatch(name):
            states = drawn.spml_single_positive(labels, int(match["seed"]))
            checks.append(Check(name, states == LabelState.POSITIVE, TOLERANCE))
        elif match := HCP.fullmatch(name):
            states = drawn.hcp_proportion(labels, number(match["share"]), int(match["seed"]))
            known = [states == LabelState.POSITIVE, states == LabelState.NEGATIVE]
            checks.append(Check(name, np.select(known, [1, -1]), TOLERANCE))
        elif match := NDLP.fullmatch(name):
            states = drawn.ndlp_candidates(labels, number(match["rate"]), int(match["seed"] or 0))
            candidates = states == LabelState.CANDIDATE
            # The original leaves its result in the array that it was given; or the file says whether that changed.
            changed = np.ndim(gold[name]) == 0
            checks.append(Check(name, (candidates != labels).any() if changed else candidates, TOLERANCE))
    return checks


def number(text: str) -> float:
    """A rate from a name: 0.3 as it stands, 03 as 0.3, and 30 as percent."""
    if "." not in text and text.startswith("0"):
        return float(f"0.{text[1:] or 0}")
    return float(text) / 100 if float(text) > 1 else float(text)


LAYOUTS = (
    Layout(
        matches=lambda gold: any(METRICS.fullmatch(name) for name in gold),
        inputs=lambda name: re.fullmatch(r".+__(targets|probs|train_counts|logits)", name) is not None,
        replay=replay_metrics,
    ),
    Layout(
        matches=lambda gold: any(kind.fullmatch(name) for name in gold for kind in (SPML, HCP, NDLP)),
        inputs=lambda name: re.fullmatch(r"(.+__)?labels", name) is not None,
        replay=replay_corruption,
    ),
)
