"""Methods that are not in the package, trained: two networks, two row tables; resumed, and on any topology."""

import functools
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from ltpml_jax import audit_runs, open_run, train
from ltpml_jax.errors import UserError
from tests.helpers import runs, session, tiny
from tests.helpers.same_runs import assert_same
from tests.helpers.toys import TOYS

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("least_optimised", "tiny_network")]

CHANGES = runs.TINY | {"optim__ema": 0.9, "optim__learning_rate": 0.05}
BETWEEN = {"train__checkpoint_every": 4}  # checkpoints within an epoch


@pytest.fixture
def tiny_network():
    with tiny.everywhere():
        yield


@functools.cache
def trained(name: str) -> Path:
    """The work directory of a run on 8 devices; do not change it."""
    return session.once(
        f"own_{name}", lambda workdir: train(runs.config(**CHANGES, **BETWEEN), workdir, method=TOYS[name]())
    )


@pytest.mark.parametrize("name", TOYS)
def test_a_run_that_is_resumed_is_the_uninterrupted_one(name, tmp_path):
    workdir = Path(shutil.copytree(trained(name), tmp_path / "copy"))
    shutil.rmtree(workdir / "checkpoints" / "18")
    (workdir / "results.json").unlink()
    train(runs.config(**CHANGES, **BETWEEN), workdir, method=TOYS[name]())
    assert_same(workdir, trained(name))


@pytest.mark.parametrize(("name", "devices"), [("agreeing_pair", 1), ("remembering", 2)])
def test_the_number_of_devices_changes_nothing(name, devices, tmp_path):
    """Of runs; methods/test_contract.py has the steps of both on 1, 2 and 8."""
    train(runs.config(**CHANGES, train__devices=devices), tmp_path, method=TOYS[name]())
    assert_alike(runs.lines(tmp_path), runs.lines(trained(name)))


def test_two_processes_are_one_run(tmp_path):
    changes = json.dumps(runs.overrides(**CHANGES))
    command = [sys.executable, "-m", "tests.helpers.toy_run", str(tmp_path), changes]
    ended = runs.wait_all(runs.start_all(command, processes=2, devices=2))
    assert [done.returncode for done in ended] == [0, 0], [done.stderr[-2000:] for done in ended]
    for name in TOYS:
        assert_alike(runs.lines(tmp_path / name), runs.lines(trained(name)))


def assert_alike(mine: list[dict], expected: list[dict]) -> None:
    assert len(mine) == len(expected) == 20
    for line, other in zip(mine, expected, strict=True):
        assert line.keys() == other.keys() and line.get("batch") == other.get("batch")
        for key in line.keys() & {"loss", "epoch_loss", "mean_visits"}:
            assert line[key] == pytest.approx(other[key], rel=1e-4), (line["step"], key)


def test_every_prediction_has_a_row_and_the_first_is_the_headline():
    results = json.loads((trained("agreeing_pair") / "results.json").read_text())["test"]
    assert [name for name in results if name.startswith("last")] == [
        "last (epoch 2)", "last (epoch 2), first", "last (epoch 2), second",
    ]  # fmt: skip
    opened = open_run(trained("agreeing_pair"), method=TOYS["agreeing_pair"]())
    assert opened.predictions == ("mean", "first", "second")
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    mean, first, second = (opened.predict(image, name) for name in opened.predictions)
    np.testing.assert_allclose(mean, (first + second) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(opened.predict(image), mean)
    assert np.abs(first - second).max() > 1e-3
    with pytest.raises(UserError, match="no prediction 'third'; this run has mean, first, second"):
        opened.predict(image, "third")
    with pytest.raises(UserError, match="'custom' keeps no pseudo labels"):
        opened.beliefs()


def test_beliefs_of_a_method_with_two_tables():
    opened = open_run(trained("remembering"), method=TOYS["remembering"]())
    soft, hard = opened.beliefs()
    assert soft.shape == hard.shape == (1080, 20) and (hard == (soft > 0.5)).all()
    assert opened.config.method.name == "custom"


def test_labels_are_audited_by_a_method_that_is_not_in_the_package(tmp_path):
    workdir, method = trained("remembering"), TOYS["remembering"]()
    found = open_run(workdir, method=method).audit(tmp_path / "one", wanted=["csv"], top=5, per_class=0)
    again = audit_runs([workdir], tmp_path / "other", method=method, wanted=["csv"], top=5, per_class=0)
    assert found.evidence.soft is not None and len(found.entries) > 0 and found.entries == again.entries
    with pytest.raises(UserError, match="'custom': the method is not in this package"):
        audit_runs([workdir], tmp_path / "none")


def test_a_run_of_an_own_method_cannot_be_opened_without_it():
    with pytest.raises(UserError, match="'custom': the method is not in this package; hand it to"):
        open_run(trained("remembering"))


def test_the_averaged_parameters_are_what_is_evaluated(tmp_path):
    """Against a run that keeps none: the same steps, other scores."""
    train(runs.config(**CHANGES | {"optim__ema": 0.0}), tmp_path, method=TOYS["remembering"]())
    mine, theirs = runs.lines(tmp_path), runs.lines(trained("remembering"))
    losses = [[line["loss"] for line in lines if "loss" in line] for lines in (mine, theirs)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert mine[-1]["validation_mAP"] != theirs[-1]["validation_mAP"]
