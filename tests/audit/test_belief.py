"""P(present) without truth: by hand, and against labels whose noise was made."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from ltpml_jax.audit import belief, evidence, ranking
from ltpml_jax.audit.evidence import Evidence
from ltpml_jax.methods.label_states import listed


def made(
    n: int = 4000, classes: int = 6, q: float = 0.3, seed: int = 0, unknown: float = 0.0
) -> tuple[Evidence, np.ndarray]:
    """Candidate sets at flip rate q over classes of falling frequency, and scores whose scale differs by class.

    unknown: the share of labels that nobody gave; the flip rate is then estimated from the others.
    """
    rng = np.random.default_rng(seed)
    truth = rng.random((n, classes)) < np.geomspace(0.4, 0.02, classes)
    given = np.where(truth | (rng.random(truth.shape) < q), 2, 0).astype(np.int8)
    given = np.where(rng.random(truth.shape) < unknown, 3, given).astype(np.int8) if unknown else given
    q = evidence.flip_rate(given) if unknown else q
    logits = 2.5 * truth + rng.normal(size=truth.shape) + np.linspace(-2, 3, classes)
    score = (1 / (1 + np.exp(-logits))).astype(np.float32)
    groups = dict.fromkeys(("head", "medium", "tail"), np.zeros(classes, bool))
    empty = np.zeros(n, bool)
    size = listed(given).sum(1)
    return Evidence((), groups, None, given, score, None, size, ~empty, empty * 0, q, "", {}, empty), truth  # pyright: ignore


def test_the_odds_of_a_share_by_hand():
    """No change is one half whatever the size; a sure class of a set of four has odds of four to one."""
    soft = np.array([[0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25], [1, 0, 0, 0], [np.nan] * 4])
    got = belief.set_odds(soft, np.array([2, 4, 4, 2]))
    np.testing.assert_allclose(got[:3], [[0.5, 0.5, 0, 0], [0.5] * 4, [0.8, 0, 0, 0]])
    assert np.isnan(got[3]).all()


@pytest.mark.parametrize("unknown", [0.5, 0.8])
def test_belief_in_candidates_is_as_often_right_whatever_nobody_looked_at(unknown):
    found, truth = made(n=8000, classes=12, unknown=unknown)
    got = belief.calibrated(found)
    for state, close in ((2, 0.04), (3, 0.02)):
        there = found.given == state
        assert got[there].mean() == pytest.approx(truth[there].mean(), abs=close)


def test_a_table_that_is_shared_out_is_recognised():
    soft = np.array([[0.5, 0.5, 0], [0, 0, 0], [np.nan] * 3])
    assert belief.shares_out(soft, np.array([2, 0, 1]))
    assert not belief.shares_out(np.array([[0.9, 0.8, 0.1]]), np.array([2]))
    assert not belief.shares_out(np.full((2, 3), np.nan), np.array([1, 1]))


def test_presence_by_hand():
    """At q = 0.2 and g = 0.6: p = 0.5; of listed entries p / g = 5/6 are present."""
    got = belief.present(np.array([[0.6, 0.6, 0.1, 0.2, 0.6]]), np.array([[2, 3, 2, 2, 1]]), 0.2, 0.0, 0.0)
    np.testing.assert_allclose(got, [[5 / 6, 0.5, 0, 0, 5 / 6]])
    np.testing.assert_allclose(1 - got[0, 0], 0.2 / 0.8 * 0.4 / 0.6)


def test_presence_of_labels_that_can_be_wrong_either_way_by_hand():
    """f = 0.1, r = 0.3, g = 0.4: p = 0.5; 0.35 of 0.4 listed are present, 0.15 of 0.6 negatives."""
    got = belief.present(np.array([[0.4, 0.4, 0.4]]), np.array([[1, 0, 3]]), 0.1, 0.3, 0.3)
    np.testing.assert_allclose(got, [[0.35 / 0.4, 0.15 / 0.6, 0.5]])


def test_rates_of_noise_are_read_off_at_the_ends():
    """Eight known entries by score: of the two lowest one is listed, and the highest (four are listed) is not."""
    score = np.arange(10)[:, None] / 10
    positive = np.array([1, 0, 0, 1, 1, 1, 0, 0, 1, 1], bool)[:, None]
    known = (np.arange(10) < 8)[:, None]
    assert belief.noise_rates(score, known, positive & known) == (0.5, 0.5)
    assert belief.noise_rates(-score, known, positive & known) == (1e-4, 1e-4)
    assert belief.noise_rates(score, known & False, positive) == (1e-4, 1e-4)


def test_wrong_labels_of_both_kinds_are_ranked_together():
    """Distrust finds both kinds better than self-confidence does, and sums to about their number."""
    evidence, truth = made(n=20000)
    rng = np.random.default_rng(1)
    given = ((truth & (rng.random(truth.shape) > 0.2)) | (~truth & (rng.random(truth.shape) < 0.01))).astype(np.int8)
    evidence = evidence._replace(given=given, flip_rate=0.0)
    wrong = truth != (given == 1)
    ours, raw = (ranking.distrust(form(evidence), given) for form in (belief.calibrated, belief.FORMS["score"]))
    assert (
        average_precision_score(wrong.ravel(), ours.ravel()) > average_precision_score(wrong.ravel(), raw.ravel()) + 0.1
    )
    assert ours.sum() == pytest.approx(wrong.sum(), rel=0.5)


def test_few_entries_share_one_curve():
    score = np.array([[0.1, 0.2], [0.9, 0.8], [0.4, 0.6]])
    positive = np.array([[False, False], [True, True], [False, True]])
    pooled = belief.listed_share(score, np.ones_like(positive), positive, enough=5)
    np.testing.assert_allclose(pooled, [[0, 0], [1, 1], [0, 1]])
    alone = belief.listed_share(score, np.ones_like(positive), positive, enough=1)
    np.testing.assert_allclose(alone, [[0, 0], [1, 1], [0, 1]])
    unknown = belief.listed_share(score, np.zeros_like(positive), positive)
    assert np.isnan(unknown).all()


def test_calibrated_beliefs_are_right_on_average_and_rank_across_classes():
    evidence, truth = made(n=20000)
    got, at = belief.calibrated(evidence), evidence.given == 2
    assert got[at].mean() == pytest.approx(truth[at].mean(), abs=0.02)
    for low, high in ((0.0, 0.2), (0.2, 0.6), (0.6, 0.9), (0.9, 1.01)):
        inside = at & (got >= low) & (got < high)
        assert got[inside].mean() == pytest.approx(truth[inside].mean(), abs=0.06)
    ours, raw = (average_precision_score(truth[at], values[at]) for values in (got, evidence.score))
    assert ours > raw + 0.1
    shuffled = np.random.default_rng(0).permutation(evidence.score.ravel()).reshape(evidence.score.shape)
    chance = belief.calibrated(evidence._replace(score=shuffled))
    assert average_precision_score(truth[at], chance[at]) < ours - 0.2


def test_scores_in_and_out_of_sample_have_curves_of_their_own():
    evidence, _ = made()
    outside = np.arange(len(evidence.score)) < 2000
    shifted = evidence.score.copy()
    shifted[outside] /= 10
    got = belief.calibrated(evidence._replace(score=shifted, out_of_sample=outside))
    alone = belief.calibrated(evidence._replace(out_of_sample=outside))
    np.testing.assert_allclose(got, alone, atol=1e-6)


def test_a_shared_out_table_counts_for_candidates_that_trained_only():
    evidence, _ = made(n=200)
    soft = np.where(evidence.given == 2, 1 / np.maximum(evidence.size, 1)[:, None], 0).astype(np.float32)
    outside = np.arange(200) < 50
    evidence = evidence._replace(soft=np.where(outside[:, None], np.nan, soft), out_of_sample=outside)
    plain, table, both = (belief.FORMS[name](evidence) for name in ("calibrated", "table", "combined"))
    trained = (evidence.given == 2) & ~outside[:, None]
    np.testing.assert_allclose(table[trained], 0.5)
    np.testing.assert_allclose(both[trained], np.clip(plain[trained], 1e-4, 1 - 1e-4), atol=1e-9)  # x = 1 says nothing
    for got in (table, both):
        np.testing.assert_array_equal(got[~trained], plain[~trained])


def test_a_table_of_probabilities_is_taken_as_it_is():
    evidence, _ = made(n=100)
    soft = np.full(evidence.score.shape, 0.7, np.float32)
    got = belief.combined(evidence._replace(soft=soft, out_of_sample=np.zeros(100, bool)))
    assert (got[evidence.given == 2] == np.float32(0.7)).all() and (got[evidence.given == 0] != np.float32(0.7)).any()


def test_unreadable_images_stay_without_belief():
    evidence, _ = made(n=100)
    score = evidence.score.copy()
    score[3] = np.nan
    for form in belief.FORMS.values():
        got = form(evidence._replace(score=score))
        assert np.isnan(got[3]).all() and np.isfinite(np.delete(got, 3, 0)).all()
