"""The order of entries, by hand."""

import numpy as np
import pytest

from ltpml_jax.audit import ranking

NO, YES, MAYBE, UNKNOWN = 0, 1, 2, 3
GIVEN = np.array([[YES, NO, MAYBE], [NO, YES, MAYBE], [UNKNOWN, UNKNOWN, MAYBE]], np.int8)
BELIEF = np.array([[0.2, 0.6, 0.5], [0.9, 0.7, 0.1], [0.3, 0.8, np.nan]])
GROUPS = np.array([0, 0, 1])


def places(name: str, belief=BELIEF, score=BELIEF) -> list[tuple[int, int]]:
    found = ranking.order(name, GIVEN, belief, score, GROUPS)
    return list(zip(found.row.tolist(), found.column.tolist(), strict=True))


def test_labels_come_by_distrust_and_questions_by_belief():
    assert places("labels") == [(1, 0), (0, 0), (0, 1), (1, 1)]  # 0.9, 0.8, 0.6, 0.3
    assert places("candidate_false") == [(1, 2)]
    assert places("candidate_true") == [(0, 2)]
    assert places("unknown_true") == [(2, 1), (2, 0)]


def test_distrust_is_of_labels_only():
    got = ranking.distrust(BELIEF, GIVEN)
    np.testing.assert_allclose(got, [[0.8, 0.6, np.nan], [0.9, 0.3, np.nan], [np.nan] * 3])


def test_equal_beliefs_are_ordered_by_score_and_then_by_place():
    even = np.full((3, 3), 0.5)
    assert places("labels", even, even) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    score = np.array([[0.6, 0.9, 0], [0.2, 0.1, 0], [0, 0, 0]])  # distrust by score: 0.4, 0.9, 0.2, 0.9
    assert places("labels", even, score) == [(0, 1), (1, 1), (0, 0), (1, 0)]


def test_ranks_count_within_class_and_group():
    found = ranking.order("labels", GIVEN, BELIEF, BELIEF, np.array([0, 1, 1]))
    assert found.rank.tolist() == [1, 2, 3, 4]
    assert found.rank_in_class.tolist() == found.rank_in_group.tolist() == [1, 2, 1, 2]
    kept = ranking.first(found, 1, 1)
    assert kept.rank.tolist() == [1, 3]
    assert ranking.rank_within(np.array([], np.int64)).tolist() == []


@pytest.mark.parametrize(
    "name,given,belief,expected",
    [
        ("labels", YES, 0.2, "negative"),
        ("labels", YES, 0.8, ""),
        ("labels", NO, 0.8, "positive"),
        ("labels", NO, 0.2, ""),
        ("candidate_false", MAYBE, 0.2, "negative"),
        ("candidate_true", MAYBE, 0.8, "positive"),
        ("candidate_true", MAYBE, 0.5, ""),
        ("unknown_true", UNKNOWN, 0.9, "positive"),
        ("unknown_true", UNKNOWN, 0.1, ""),
    ],
)
def test_what_is_suggested(name, given, belief, expected):
    assert ranking.suggestion(name, given, belief) == expected


def test_reasons():
    assert ranking.reason("labels", YES) == "positive_unlikely" and ranking.reason("labels", NO) == "missing_positive"
    assert ranking.reason("unknown_true", UNKNOWN) == "unknown_true"
