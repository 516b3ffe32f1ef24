"""Label entries in the order in which they are worth a look: within all, within a group of classes, within a class."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ltpml_jax.data.labels import GROUPS, LabelState

# Lists, each ranked by itself -> the states in it, and whether high belief comes first.
# Positives and negatives are labels, which can be wrong; a candidate or an unknown one is a question.
LISTS: dict[str, tuple[tuple[LabelState, ...], bool]] = {
    "labels": ((LabelState.POSITIVE, LabelState.NEGATIVE), True),
    "candidate_false": ((LabelState.CANDIDATE,), False),
    "candidate_true": ((LabelState.CANDIDATE,), True),
    "unknown_true": ((LabelState.UNKNOWN,), True),
}
DISPUTED = "annotators_disagree"  # the reason of a candidate of either list that is one because of that
EVEN = 0.5  # a belief beyond which the opposite of a label is suggested


class Order(NamedTuple):
    """One list, best first, M entries: row, column int64 [M]; rank, rank_in_class, rank_in_group int64 [M], from 1."""

    row: np.ndarray
    column: np.ndarray
    rank: np.ndarray
    rank_in_class: np.ndarray
    rank_in_group: np.ndarray


def distrust(belief: np.ndarray, given: np.ndarray) -> np.ndarray:
    """P(the label is wrong): 1 - belief where positive is given, belief where negative is; NaN for the others."""
    wrong = np.where(given == LabelState.POSITIVE, 1 - belief, belief)
    return np.where(given <= LabelState.POSITIVE, wrong, np.nan)


def order(name: str, given: np.ndarray, belief: np.ndarray, score: np.ndarray, groups: np.ndarray) -> Order:
    """All entries of a list in their order.

    given int8, belief and score float [N, C]; groups int64 [C]: the number of each class's group. Equal beliefs (the
    steps of a calibration) are ordered by score, then by place. Candidates are in the list of their side of one half.
    """
    states, high = LISTS[name]
    there = np.isin(given, states) & np.isfinite(belief)
    if name.startswith("candidate"):
        there &= (belief >= EVEN) == high
    places = np.flatnonzero(there)
    value, tie = belief.ravel()[places], score.ravel()[places]
    if name == "labels":
        positive = given.ravel()[places] == LabelState.POSITIVE
        value, tie = (np.where(positive, 1 - one, one) for one in (value, tie))
    sign = -1 if high else 1
    places = places[np.lexsort((places, sign * tie, sign * value))]
    row, column = np.divmod(places, given.shape[1])
    rank = np.arange(1, len(places) + 1)
    return Order(row, column, rank, rank_within(column), rank_within(groups[column]))


def rank_within(kind: np.ndarray) -> np.ndarray:
    """For each place of a ranked list, which of its kind int64 [M] it is, from 1."""
    by_kind = np.argsort(kind, kind="stable")
    starts = np.flatnonzero(np.diff(kind[by_kind], prepend=-1))
    counts = np.diff(starts, append=len(kind))
    found = np.empty(len(kind), np.int64)
    found[by_kind] = np.arange(len(kind)) - np.repeat(starts, counts) + 1
    return found


def first(ranked: Order, top: int, per_class: int) -> Order:
    """The `top` first of a list, and the `per_class` first of every class in it."""
    kept = (ranked.rank <= top) | (ranked.rank_in_class <= per_class)
    return Order(*(part[kept] for part in ranked))


def group_numbers(groups: Mapping[str, np.ndarray], classes: int) -> np.ndarray:
    """For each class, the number of its group in GROUPS, int64 [C]."""
    return np.array(
        [next((n for n, name in enumerate(GROUPS) if groups[name][j]), len(GROUPS)) for j in range(classes)]
    )


def reason(name: str, given: int) -> str:
    """Why an entry of a list is worth a look, one word."""
    if name == "labels":
        return "positive_unlikely" if given == LabelState.POSITIVE else "missing_positive"
    return name


def suggestion(name: str, given: int, belief: float) -> str:
    """The state that the belief speaks for: positive, negative, or "" where it does not contradict the label."""
    if name == "labels":
        opposite = "negative" if given == LabelState.POSITIVE else "positive"
        return opposite if (belief > EVEN) != (given == LabelState.POSITIVE) and belief != EVEN else ""
    if belief == EVEN:
        return ""
    return "positive" if belief > EVEN else ("negative" if name == "candidate_false" else "")
