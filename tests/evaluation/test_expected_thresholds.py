"""Thresholds by class without true labels: counted by hand, written by a run, and what is refused."""

import json

import jax
import numpy as np
import pytest

from ltpml_jax import open_run
from ltpml_jax.data import loader
from ltpml_jax.data.task import make_task
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import expected_thresholds
from ltpml_jax.state import make_mesh
from tests.helpers import runs


def test_scores_are_the_sigmoid():
    found = expected_thresholds.scores(np.array([[0.0, 1000.0, -1000.0, np.log(3)]], np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0.5, 1, 0, 0.75]], rtol=1e-7)


def test_they_let_the_share_through():
    """Ten scores .05, .15, .. .95: 0, 1, 3 and all of them pass; halfway between neighbours."""
    found = np.repeat((np.arange(10) / 10 + 0.05)[[3, 0, 9, 5, 1, 2, 4, 8, 6, 7], None], 4, 1)
    limits = expected_thresholds.expected(found, np.array([0.04, 0.1, 0.26, 1.5]))
    np.testing.assert_allclose(limits, [0.95, 0.9, 0.7, 0.025])
    assert (found > limits).sum(0).tolist() == [0, 1, 3, 10]


@pytest.mark.processes
def test_a_run_writes_those_of_its_held_out_images(tmp_path):
    values, step = expected_thresholds.load(runs.finished())
    opened = open_run(runs.finished())
    task = opened.run.task
    for row in task.validation:
        (tmp_path / f"{row}.png").write_bytes(task.dataset.train.records[int(row)]["image"])
    found = expected_thresholds.scores(opened.predict([tmp_path / f"{row}.png" for row in task.validation]))
    share = task.prior.class_count / task.prior.train_size
    assert step == 18 and list(values) == list(opened.class_names)
    np.testing.assert_allclose(
        list(values.values()), expected_thresholds.expected(found, np.asarray(share)), rtol=1e-4, atol=1e-6
    )


def test_where_nothing_is_held_out_they_are_of_training_images():
    config = runs.config(data__validation=0.0)
    task = make_task(config)
    _, count, images = loader.familiar_batches(config, task, make_mesh(jax.devices()[:1]))
    assert count == 1200 and images == "1200 training images"


@pytest.mark.parametrize(
    "text", ["", "[1]", "{}", json.dumps({"thresholds": {}, "step": "x"}), '{"thresholds": {}, "step": 1e999}']
)
def test_damage_is_one_sentence(tmp_path, text):
    (tmp_path / "thresholds.json").write_text(text)
    with pytest.raises(UserError, match=r"thresholds.json is damaged; finish its run, or make it with `ltpml eval"):
        expected_thresholds.load(tmp_path)
    (tmp_path / "thresholds.json").write_text('{"thresholds": {"cat": "0.5"}, "step": 1}')
    with pytest.raises(UserError, match="is damaged, as a threshold is no number; finish"):
        expected_thresholds.load(tmp_path)


def test_missing_ones_are_named_with_the_command_that_makes_them(tmp_path):
    with pytest.raises(UserError, match=f"^There is no thresholds.json in {tmp_path}; .* where the dataset is, or x.$"):
        expected_thresholds.load(tmp_path, ", or x")
