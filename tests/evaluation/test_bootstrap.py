"""The paired bootstrap: AP under weights, draws, Holm's correction, intervals and their coverage."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from benchmarks import intervals
from ltpml_jax.evaluation import bootstrap, metrics
from tests.helpers import workdirs


@pytest.mark.parametrize("seed", range(20))
def test_weighted_precision_is_that_of_scikit_learn(seed):
    """With ties, labels that are not known, and weights of 0."""
    rng = np.random.default_rng(seed)
    states = rng.choice(4, size=80, p=(0.6, 0.2, 0.1, 0.1)).astype(np.int8)
    logits = np.round(rng.normal(size=80) + (states == 1), rng.integers(0, 3)).astype(np.float32)
    counts = np.concatenate(list(bootstrap.weights(80, 30, seed)), axis=1)
    found = bootstrap.weighted_precision(bootstrap.rank(logits, states), counts)
    known = states <= 1
    for weight, value in zip(counts.T, found, strict=True):
        wanted = 100 * average_precision_score(states[known], logits[known], sample_weight=weight[known])
        assert value == pytest.approx(wanted, abs=1e-9)


def test_weighted_precision_by_hand():
    """Scores 3, 2, 2, 1 of +, -, +, +: precision 1 at the first, 2/3 at the tie, 3/4 at the last."""
    ranking = bootstrap.rank(np.array([3, 2, 2, 1], np.float32), np.array([1, 0, 1, 1], np.int8))
    counts = np.array([[1, 1, 1, 1], [0, 2, 1, 1], [0, 4, 0, 0]], np.float32).T
    found = bootstrap.weighted_precision(ranking, counts)
    np.testing.assert_allclose(found[:2], [100 * (1 + 2 / 3 + 3 / 4) / 3, 100 * (1 / 3 + 2 / 4) / 2])
    assert np.isnan(found[2])


def test_a_draw_has_as_many_images_as_the_test_set(monkeypatch):
    whole = list(bootstrap.weights(50, 400, 3))
    assert len(whole) == 1 and whole[0].shape == (50, 400) and whole[0].dtype == np.float32
    assert (whole[0].sum(0) == 50).all() and 0.95 < whole[0][:25].mean() < 1.05
    np.testing.assert_array_equal(whole[0], next(bootstrap.weights(50, 400, 3)))
    assert (whole[0] != next(bootstrap.weights(50, 400, 4))).any()
    monkeypatch.setattr(bootstrap, "_ENTRIES", 50 * 150)
    assert [part.shape[1] for part in bootstrap.weights(50, 400, 3)] == [150, 150, 100]


def test_draws_are_scores_of_resampled_test_sets():
    """Two runs on the same draws, against the measures on images that are really repeated."""
    states = workdirs.labels(60)
    states[5:, 5] = 0  # one positive: absent from a third of the draws
    runs = [workdirs.guesses(states, skill, 1) for skill in (1.0, 2.0)]
    masks = {name: np.isin(np.arange(6), classes) for name, classes in workdirs.GROUPS.items()}
    found = bootstrap.drawn_scores(runs, states, masks, 25, 0)
    assert found.shape == (2, 25, 4)
    for draw, counts in enumerate(next(bootstrap.weights(60, 25, 0)).T.astype(int)):
        for run, logits in enumerate(runs):
            wanted = metrics.scores(np.repeat(logits, counts, 0), np.repeat(states, counts, 0), masks)
            mine = dict(zip(bootstrap.SCORES, found[run, draw], strict=True))
            assert mine == pytest.approx({name: wanted[f"mAP_{name}"] for name in bootstrap.SCORES}, abs=1e-9)


def test_a_group_without_classes_has_no_score():
    states = workdirs.labels(30)
    masks = {"head": np.ones(6, bool), "medium": np.zeros(6, bool), "tail": np.zeros(6, bool)}
    found = bootstrap.drawn_scores([workdirs.guesses(states, 1.0, 0)], states, masks, 5, 0)
    assert np.isfinite(found[..., :2]).all() and np.isnan(found[..., 2:]).all()
    assert np.isnan(bootstrap.difference(float("nan"), found[0, :, 2])[1:]).all()


def test_intervals_and_p_values_by_hand():
    draws = np.array([1.0, 3.0, np.nan])  # deviation sqrt(2)
    found = bootstrap.difference(2.0, draws)
    assert found.low == pytest.approx(2 - 1.959964 * np.sqrt(2)) and found.high == pytest.approx(4.771808, abs=1e-5)
    assert found.p == pytest.approx(0.157299, abs=1e-6)  # 2 (1 - Phi(sqrt 2))
    assert bootstrap.difference(0.0, np.zeros(9)) == (0.0, 0.0, 0.0, 1.0)


def test_holm_by_hand():
    assert bootstrap.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = bootstrap.holm([0.6, float("nan"), 0.02])
    assert found[::2] == pytest.approx([0.6, 0.04]) and np.isnan(found[1])
    assert bootstrap.holm([0.9, 0.8]) == [1.0, 1.0] and bootstrap.holm([]) == []


def coverage() -> np.ndarray:
    skills = np.stack([np.linspace(2.0, 1.2, 20) + 0.2, np.linspace(2.0, 1.2, 20)])
    return intervals.measure(60, 300, 100, skills, truth=40_000).interval[0]


def test_intervals_cover(monkeypatch):
    """A few pairs of what benchmarks/intervals.py does with many; intervals of half the width must fail."""
    assert 0.87 <= coverage() <= 1
    whole = bootstrap.difference

    def half(value: float, draws: np.ndarray):
        found = whole(value, draws)
        return found._replace(low=(value + found.low) / 2, high=(value + found.high) / 2)

    monkeypatch.setattr(bootstrap, "difference", half)
    assert coverage() < 0.87
