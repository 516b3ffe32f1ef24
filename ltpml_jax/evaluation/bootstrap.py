"""Differences between runs on one test split, with intervals and p values: a paired bootstrap over its images.

What is resampled: the test images, and nothing else. A draw takes n of the n images with replacement; every run is
scored on the same draw, and a group's score is the mean over its runs (seeds). The trained networks stay as they are,
so an interval says how far a difference between *these* networks would move on other test images of the same kind. It
does not say how far it would move with other seeds: that is the standard deviation over seeds, which is reported
beside it. Seeds are not resampled because three of them have ten different draws only, too few to stand for what
further seeds would give. Scoring all on one draw is what makes a difference precise: images that are hard for one run
are hard for the others.

Intervals are d +- 1.96 s, where d is the observed difference and s the standard deviation of its draws, and p values
are those of d / s under a normal distribution. They have no floor at 1 / draws, as shares of draws would have, which
Holm's correction needs where many are tested. benchmarks/intervals.py measures the coverage of these intervals and of
the draws' percentiles.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ltpml_jax.data.labels import LabelState

DRAWS = 2000
SCORES = ("total", "head", "medium", "tail")
_ENTRIES = 2**22  # weights that are in memory at a time
_NORMAL = 1.959963984540054  # the 97.5 % point of the standard normal distribution


class Difference(NamedTuple):
    """first - second in points of mAP, its 95 % interval, and the p value of no difference; NaN where undefined."""

    value: float
    low: float
    high: float
    p: float


def weights(images: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image is in each draw: blocks float32 [images, b] of whole numbers, `draws` columns in all."""
    rng = np.random.default_rng(seed)
    block = max(_ENTRIES // max(images, 1), 1)
    for start in range(0, draws, block):
        columns = min(block, draws - start)
        chosen = rng.integers(images, size=(columns, images)) + images * np.arange(columns)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=columns * images).reshape(columns, images)
        yield np.ascontiguousarray(counts.T, np.float32)  # exact, as whole numbers below 2**24


class Ranking(NamedTuple):
    """One class of one run, sorted once: the images from the highest score on, and where its positives stand.

    order int64 [m]; positives int64 [p], places in `order`; ends int64 [p]: the last place with the score of each.
    """

    order: np.ndarray
    positives: np.ndarray
    ends: np.ndarray


def rank(logits: np.ndarray, states: np.ndarray) -> Ranking:
    """Sort the images of known label by logits [n] of one class with states [n]."""
    known = np.flatnonzero(states <= LabelState.POSITIVE)
    order = known[np.argsort(-logits[known], kind="stable")]
    sorted_logits = -logits[order]
    positives = np.flatnonzero(states[order] == LabelState.POSITIVE)
    return Ranking(order, positives, np.searchsorted(sorted_logits, sorted_logits[positives], side="right") - 1)


def weighted_precision(ranking: Ranking, counts: np.ndarray) -> np.ndarray:
    """AP float64 [b] in percent under weights float32 [n, b], whole numbers; NaN where no positive has weight.

    The mean over positives of the precision at their score, ties together, as scikit-learn's average_precision_score
    with sample_weight.
    """
    mine = counts[ranking.order]
    taken = mine.cumsum(0)[ranking.ends].astype(np.float64)
    at = mine[ranking.positives].astype(np.float64)
    # Positives of one score share the sum up to the last of them.
    hits = np.concatenate([np.zeros((1, at.shape[1])), at.cumsum(0)])
    last = np.searchsorted(ranking.positives, ranking.ends, side="right")
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(taken > 0, hits[last] / taken, 0)
        return 100 * (at * precision).sum(0) / at.sum(0)


def drawn_scores(
    logits: Sequence[np.ndarray], states: np.ndarray, groups: Mapping[str, np.ndarray], draws: int, seed: int
) -> np.ndarray:
    """mAP in percent of each run on each draw, float64 [runs, draws, 4] by SCORES; NaN where no class is defined.

    logits: float [n, C] by run; states: [n, C] of LabelState; groups: masks bool [C]. A class whose positives are all
    absent from a draw is left out of that draw's means, for all runs alike.
    """
    rankings = [[rank(run[:, j], states[:, j]) for j in range(states.shape[1])] for run in logits]
    masks = [np.ones(states.shape[1], bool), *(groups[name] for name in SCORES[1:])]
    parts = []
    for counts in weights(len(states), draws, seed):
        by_class = np.array([[weighted_precision(one, counts) for one in run] for run in rankings])  # [runs, C, b]
        parts.append(np.stack([mean_over(by_class[:, mask], axis=1) for mask in masks], axis=-1))
    return np.concatenate(parts, axis=1)


def mean_over(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean along an axis of what is not NaN; NaN where nothing is left."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0).sum(axis) / there.sum(axis)


def difference(value: float, draws: np.ndarray) -> Difference:
    """Interval and p value of an observed difference whose draws are float [b]."""
    defined = draws[~np.isnan(draws)]
    spread = float(defined.std(ddof=1)) if len(defined) > 1 else float("nan")
    if np.isnan(value) or np.isnan(spread):
        return Difference(value, float("nan"), float("nan"), float("nan"))
    if not spread:  # the two rank alike in every draw
        return Difference(value, value, value, 1.0 if not value else 0.0)
    from scipy.stats import norm

    p = 2 * float(norm.sf(abs(value) / spread))
    return Difference(value, value - _NORMAL * spread, value + _NORMAL * spread, p)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p values that are tested together, in their order; NaN stays and counts not."""
    values = np.asarray(p, np.float64)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    values[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return values.tolist()
