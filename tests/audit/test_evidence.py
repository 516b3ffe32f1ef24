"""What runs say of every training image, put together by hand and from the shared small run."""

import numpy as np
import pytest

from ltpml_jax.audit import evidence
from ltpml_jax.audit.evidence import RunScores
from ltpml_jax.data import candidates
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation.opened import open_run
from tests.helpers import runs


def said(score: list[float], trained: list[int], soft: list[float] | None = None, step: int = 1) -> RunScores:
    """One class; an image a place."""
    table = None if soft is None else np.array(soft, np.float32)[:, None]
    return RunScores(np.array(score, np.float32)[:, None], table, np.array(trained, bool), step)


def test_folds_give_out_of_sample_scores():
    first = said([0.1, 0.2, 0.3], [1, 0, 1], [0.5, np.nan, 0.7], step=5)
    second = said([0.9, 0.8, 0.5], [0, 1, 1], [np.nan, 0.4, 0.9], step=9)
    score, soft, outside, step = evidence.together([first, second])
    np.testing.assert_allclose(score[:, 0], [0.9, 0.2, 0.4])  # of the run that held it out; else of both
    assert soft is not None
    np.testing.assert_allclose(soft[:, 0], [0.5, 0.4, 0.8])
    assert outside.tolist() == [True, True, False] and step.tolist() == [9, 5, 9]


def test_a_run_alone_is_itself():
    one = said([0.1, 0.2], [1, 0], [0.5, np.nan])
    score, soft, outside, step = evidence.together([one])
    np.testing.assert_array_equal(score, one.score)
    np.testing.assert_array_equal(soft, one.soft)
    assert outside.tolist() == [False, True] and step.tolist() == [1, 1]
    assert evidence.together([one, said([0.1, 0.2], [1, 0])])[1] is None


@pytest.mark.processes
def test_the_small_run_says_something_of_every_training_image():
    found = evidence.collect([runs.finished()])
    assert found.given.shape == found.score.shape == (1200, 20) and set(np.unique(found.given)) == {0, 2}
    assert found.out_of_sample.sum() == 120 and found.drawn == "partial rate 0.3"
    soft, _ = open_run(runs.finished()).beliefs()
    assert found.soft is not None
    np.testing.assert_array_equal(found.soft[~found.out_of_sample], soft)
    assert np.isnan(found.soft[found.out_of_sample]).all()
    np.testing.assert_array_equal(found.size, (found.given == 2).sum(1))
    records = found.records
    logits = open_run(runs.finished()).predict([_pixels(records[row]["image"]) for row in (0, 700)])
    np.testing.assert_allclose(found.score[[0, 700]], 1 / (1 + np.exp(-logits)), atol=1e-5)
    assert found.flip_rate == pytest.approx(0.3, abs=0.03) and found.record["dataset"] == "digits_mlt"


def test_the_flip_rate_is_that_among_known_labels():
    rng = np.random.default_rng(0)
    truth = rng.random((6000, 12)) < np.geomspace(0.3, 0.01, 12)
    given = np.where(truth | (rng.random(truth.shape) < 0.2), 2, 0)
    hidden = np.where(rng.random(truth.shape) < 0.6, 3, given)
    assert evidence.flip_rate(hidden) == pytest.approx(0.2, abs=0.02)
    assert evidence.flip_rate(np.where(hidden == 3, 3, truth)) == 0.0


@pytest.mark.processes
def test_labels_that_a_run_drew_are_not_drawn_again(monkeypatch):
    opened = open_run(runs.finished())
    task = opened.run.task
    whole = candidates.draw_candidates(
        task.dataset.train.labels, np.arange(1200), 0.3, opened.config.data.candidate_seed
    )
    monkeypatch.setattr(candidates, "draw_candidates", None)
    np.testing.assert_array_equal(evidence.given_labels(opened), whole)


@pytest.mark.parametrize(("unknown", "sizes"), [("candidate", [3, 2]), ("negative", [2, 0]), ("unknown", [2, 0])])
def test_unknown_labels_count_in_a_set_as_training_took_them(unknown, sizes):
    given = np.array([[0, 1, 2, 3], [0, 0, 3, 3]], np.int8)
    assert evidence.set_sizes(given, unknown).tolist() == sizes


@pytest.mark.processes
def test_scores_alone_need_no_training_state():
    opened = open_run(runs.finished())
    opened.network = opened.network._replace(method=opened.network.method._replace(beliefs=None))
    found = evidence.run_scores(opened)
    assert found.soft is None and found.step == 18 and "state" not in vars(opened)


def _pixels(encoded: bytes) -> np.ndarray:
    from ltpml_jax.data import augment

    return augment.decode(encoded)


@pytest.mark.processes
def test_no_run_and_runs_without_checkpoints_are_refused(tmp_path):
    with pytest.raises(UserError, match="There is no run to audit with"):
        evidence.collect([])
    with pytest.raises(UserError, match="There is no run in"):
        evidence.collect([tmp_path])
    (tmp_path / "config.json").write_text((runs.finished() / "config.json").read_text())
    with pytest.raises(UserError, match="There are no checkpoints in"):
        evidence.collect([tmp_path])
