"""Clean labels made worse on purpose, in the ways in which the literature studies them.

Every function takes clean labels int8 [N, C] (0 negative, 1 positive), which it leaves as they are, and a seed; it
returns states int8 [N, C] of `labels.LabelState` that are equal on every machine. UserErrors name a parameter out of
range and labels that are not clean.
"""

import math

import numpy as np

from ltpml_jax.data.candidates import draw_candidates
from ltpml_jax.data.labels import LabelState, is_clean
from ltpml_jax.data.streams import Purpose, uniform
from ltpml_jax.errors import UserError

_HALVINGS = 200  # of the interval in which a factor lies: more than a float64 has bits


def partial(labels: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Candidates: all positives, and every negative with probability `rate` in [0, 1); the rest is negative."""
    _check_clean(labels)
    return draw_candidates(labels, np.arange(len(labels)), rate, seed)


def tail_biased(labels: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """As `partial`, with more wrong candidates for rarer classes: see `tail_biased_rates`."""
    _check_clean(labels)
    flipped = uniform(labels.shape, seed, Purpose.TAIL_BIASED) < tail_biased_rates(labels, rate)
    return np.where((labels != 0) | flipped, LabelState.CANDIDATE, LabelState.NEGATIVE).astype(np.int8)


def tail_biased_rates(labels: np.ndarray, rate: float) -> np.ndarray:
    """Float64 [C]: the probability, below 1, that a negative of a class becomes a candidate.

    Its odds fall with the square root of the class's positives n_c (plus one), so that classes with 775 and 4 images
    differ by a factor of 12.5; their scale is such that over all negatives of all classes the mean rate is `rate`.
    """
    _check_rate("partial rate", rate)
    counts = [int(count) for count in labels.sum(0, dtype=np.int64)]
    odds = [1 / math.sqrt(count + 1) for count in counts]
    share = [len(labels) - count for count in counts]
    target, low, high = rate * sum(share), 0.0, 1.0
    while _expected(odds, share, high) < target:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _expected(odds, share, middle) < target else (low, middle)
    return np.array([high * one / (1 + high * one) for one in odds]) if rate else np.zeros(len(odds))


def missing(labels: np.ndarray, ratio: float, seed: int, keep_one: bool) -> np.ndarray:
    """Positives dropped with probability `ratio` in [0, 1); all that is not a positive that stayed is unknown.

    With `keep_one`, an image that would lose all its positives keeps one of them, each with the same probability, so
    a positive among m is dropped with probability ratio - ratio**m / m.
    """
    _check_clean(labels)
    _check_rate("ratio of missing positives", ratio)
    draw = uniform(labels.shape, seed, Purpose.MISSING)
    kept = (labels != 0) & (draw >= ratio)
    if keep_one:
        kept |= _one_positive(labels, draw) & ~kept.any(1, keepdims=True)
    return _positives(kept)


def keep(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Every label, positive or negative, stays with probability `share` in (0, 1] and is unknown otherwise."""
    _check_clean(labels)
    if not 0.0 < share <= 1.0:  # a NaN fails this comparison too
        raise UserError(f"the share of labels left is {share}; set it above 0 and to at most 1.")
    return np.where(uniform(labels.shape, seed, Purpose.KEEP) < share, labels, LabelState.UNKNOWN).astype(np.int8)


def single(labels: np.ndarray, seed: int) -> np.ndarray:
    """One positive of each image that has any, each with the same probability; all the rest is unknown."""
    _check_clean(labels)
    return _positives(_one_positive(labels, uniform(labels.shape, seed, Purpose.SINGLE)))


def _one_positive(labels: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Bool [N, C]: of each image's positives the one with the largest number of `draw` [N, C]."""
    best = np.where(labels != 0, draw, -1.0).argmax(1)
    return (np.arange(labels.shape[1]) == best[:, None]) & (labels != 0)


def _positives(there: np.ndarray) -> np.ndarray:
    # A dropped positive must be indistinguishable from a negative: no annotator has given either.
    return np.where(there, LabelState.POSITIVE, LabelState.UNKNOWN).astype(np.int8)


def _expected(odds: list[float], share: list[int], factor: float) -> float:
    """Flips expected of classes with these odds (times the factor) and so many negatives each."""
    # fsum rounds once, so the order in which a machine adds up makes no difference.
    return math.fsum(n * (factor * one / (1 + factor * one)) for one, n in zip(odds, share, strict=True))


def _check_rate(name: str, rate: float) -> None:
    if not 0.0 <= rate < 1.0:  # a NaN fails this comparison too
        raise UserError(f"the {name} is {rate}; set it to at least 0 and below 1.")


def _check_clean(labels: np.ndarray) -> None:
    if not is_clean(labels):
        raise UserError(
            "Some labels are candidates or unknown already; corruption starts from clean labels, so use the candidate "
            "sets as they are."
        )
