"""Quality of pseudo labels, counted block by block and shard by shard."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_score, recall_score

from ltpml_jax.evaluation import label_quality
from ltpml_jax.evaluation.opened import open_run
from tests.helpers import runs
from tests.runtime.test_metrics_log import events


def test_by_hand():
    candidates = 2 * np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]])
    truth = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    soft = np.array([[0.9, 0.8, 0.99], [0.3, 0.95, 0.5], [0.99, 0.4, 0.2]])  # 0.9x outside of candidates: not seen
    hard = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]])
    got = label_quality.scores(label_quality.count(soft, hard, truth, candidates))
    # Candidates by soft label: 0.9 true, 0.8 false, 0.5 true, 0.4 true, 0.3 false, 0.2 false.
    assert got["soft_label_AP"] == pytest.approx(100 * (1 + 2 / 3 + 3 / 4) / 3)
    assert got["hard_label_precision"] == pytest.approx(100 * 2 / 3)
    assert got["hard_label_recall"] == pytest.approx(100 * 2 / 3)


def test_odds_compare_images_whose_sets_differ_in_size():
    """0.4 of a set of four is more evidence than 0.55 of a set of two."""
    candidates = 2 * np.array([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]])
    truth = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    soft = np.array([[0.55, 0.45, 0, 0], [0.4, 0.2, 0.2, 0.2], [1.0, 0, 0, 0]])
    got = label_quality.scores(label_quality.count(soft, np.zeros((3, 4)), truth, candidates))
    # By soft label: true, false (0.55), false (0.45), true. By odds 1.6 true, 1.1 false, 1.0 true, then false ones.
    assert got["soft_label_AP"] == pytest.approx(100 * (1 + 2 / 4) / 2)
    assert got["soft_label_x_size_AP"] == pytest.approx(100 * (1 + 2 / 3) / 2)


def test_known_positives_and_unknown_labels_are_no_candidates():
    states = np.array([[2, 1, 3, 2], [0, 3, 1, 2]])
    truth = np.array([[1, 1, 0, 0], [0, 1, 0, 1]])
    soft = np.array([[0.5, 0.1, 0.9, 0.6], [0.9, 0.9, 0.9, 0.4]])
    got = label_quality.scores(label_quality.count(soft, soft > 0.5, truth, states))
    assert got["soft_label_AP"] == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)  # 0.6 false, 0.5 true, 0.4 true
    assert got["soft_label_unknown_AP"] == pytest.approx(50)  # equal, one of two true
    missing = label_quality.count(soft, soft > 0.5, truth, np.where(states == 2, 3, states))
    assert np.isnan(label_quality.scores(missing)["soft_label_AP"]) and not missing.spread.any()


def test_without_a_true_candidate():
    nothing = np.zeros((2, 2), int)
    got = label_quality.scores(label_quality.count(np.ones((2, 2)), nothing, nothing, np.full((2, 2), 2)))
    assert np.isnan(got["soft_label_AP"]) and np.isnan(got["soft_label_x_size_AP"])
    assert got["hard_label_precision"] == got["hard_label_recall"] == 0.0


def test_blocks_add_up_to_what_scikit_learn_says_of_the_whole():
    rng = np.random.default_rng(0)
    truth = (rng.random((3000, 10)) < 0.2).astype(np.int8)
    candidates = 2 * (truth | (rng.random(truth.shape) < 0.3))
    soft = np.clip(rng.normal(0.4, 0.2, truth.shape) + 0.2 * truth, 0, 1).astype(np.float32)
    hard = soft > 0.5
    parts = [label_quality.count(*(table[rows] for table in (soft, hard, truth, candidates))) for rows in SLICES]
    got = label_quality.scores(label_quality.Counts(*(sum(counts) for counts in zip(*parts, strict=True))))
    at = candidates > 0
    assert got["soft_label_AP"] == pytest.approx(100 * average_precision_score(truth[at], soft[at]), abs=0.01)
    odds = soft * at.sum(1, keepdims=True)
    expected = 100 * average_precision_score(truth[at], odds[at])
    assert got["soft_label_x_size_AP"] == pytest.approx(expected, abs=0.02)
    assert got["hard_label_precision"] == pytest.approx(100 * precision_score(truth.ravel(), hard.ravel()))
    assert got["hard_label_recall"] == pytest.approx(100 * recall_score(truth.ravel(), hard.ravel()))


SLICES = (slice(0, 7), slice(7, 2000), slice(2000, 3000))


def test_soft_labels_of_zero_and_one_have_a_bin():
    ends = np.array([[0.0, 1.0]])
    counts = label_quality.count(ends, ends, np.array([[0, 1]]), np.full((1, 2), 2))
    assert counts.false_by_odds.sum() == 1 == counts.true_by_odds[label_quality._BINS // 2 :].sum()
    assert counts.false[0] == 1 and counts.true[-1] == 1 and len(counts.true) == len(counts.false)
    assert counts.found.tolist() == [1, 1, 1]


def test_soft_labels_of_candidates_in_equal_parts(monkeypatch):
    soft = np.array([[0.0, 0.019, 0.5], [1.0, 0.99, 0.3]])
    blocks = [(0, soft[:1], soft[:1]), (1, soft[1:], soft[1:])]
    monkeypatch.setattr(label_quality, "beliefs_by_block", lambda *_: blocks)
    dataset = SimpleNamespace(train=SimpleNamespace(labels=np.zeros((2, 3))))
    task = SimpleNamespace(served=np.array([[2, 2, 0], [2, 2, 1]]), train=np.arange(2), dataset=dataset)
    counts = label_quality.measure(SimpleNamespace(beliefs=True), None, task).spread  # pyright: ignore
    assert {part: count for part, count in enumerate(counts.tolist()) if count} == {0: 2, label_quality.SHARES - 1: 2}


@pytest.mark.processes
def test_the_events_of_a_run_have_a_histogram_an_epoch():
    """Of every candidate of the training images, in a run of NDLP of two epochs."""
    file, _ = sorted((runs.eight_devices() / "tensorboard").iterdir())  # the other is of the results
    values = [(event.step, value) for event in events(file) for value in event.summary.value]
    found = [(step, value.histo.num) for step, value in values if value.tag == "soft_labels_of_candidates"]
    served = open_run(runs.eight_devices()).run.task.served
    assert found == [(step, (served[0 : len(served)] == 2).sum()) for step in (9, 18)]
