"""predictions-test.npz: what a run's outputs are when they are read again, and what is refused."""

import json
import zipfile

import numpy as np
import pytest

from ltpml_jax import cli
from ltpml_jax.commands import evaluate
from ltpml_jax.data import datasets
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import predictions_file
from ltpml_jax.evaluation.metrics import scores
from ltpml_jax.evaluation.predictions_file import Predictions
from tests.helpers import runs, workdirs


def small() -> Predictions:
    states = workdirs.labels(5)
    logits = workdirs.guesses(states, 1.0, 0)
    logits[3] = np.nan
    return Predictions(np.array(["a", "ü", "c", "d", "e/f"]), states, {"mean": logits, "first": -logits}, "last", 7)


@pytest.mark.processes
def test_a_runs_outputs_are_those_behind_its_table():
    found = predictions_file.load(runs.finished())
    test = datasets.load("digits_mlt", str(runs.data_dir())).test
    assert list(found.logits) == ["network"] and (found.checkpoint, found.step) == ("last", 18)
    np.testing.assert_array_equal(found.states, test.labels)
    assert found.ids.tolist() == [test.records[row]["id"] for row in range(1000)]
    groups = datasets.load("digits_mlt", str(runs.data_dir())).groups
    table = json.loads((runs.finished() / "results.json").read_text())["test"]["last (epoch 2)"]
    assert scores(found.logits["network"], found.states, groups) == table


@pytest.mark.processes
def test_evaluation_makes_both_files_for_a_run_that_has_none(tmp_path, capsys):
    """Of a run of an earlier version, whose config lacks a field that there is now."""
    workdir = runs.copy_of_finished(tmp_path)
    capsys.readouterr()  # what the run printed, where it is the first test of its process that needs it
    before = predictions_file.load(workdir)
    model = (workdir / "model.json").read_bytes()
    for name in ("model.json", "predictions-test.npz"):
        (workdir / name).unlink()
    config = json.loads((workdir / "config.json").read_text())
    del config["data"]["fold"]
    (workdir / "config.json").write_text(json.dumps(config))
    words = [f"--workdir={workdir}"]
    evaluate.COMMAND.run(cli.parse("evaluate", evaluate.COMMAND, words))
    assert not (workdir / "model.json").exists() and not (workdir / "predictions-test.npz").exists()
    evaluate.COMMAND.run(cli.parse("evaluate", evaluate.COMMAND, [*words, "--predictions"]))
    after = predictions_file.load(workdir)
    assert (workdir / "model.json").read_bytes() == model
    np.testing.assert_array_equal(after.ids, before.ids)
    np.testing.assert_allclose(after.logits["network"], before.logits["network"], rtol=1e-4, atol=1e-4)
    assert capsys.readouterr().out.count("last (epoch 2)") == 2


def test_what_is_saved_is_read_and_equal_content_gives_equal_bytes(tmp_path):
    (tmp_path / "more").mkdir()
    for folder in (tmp_path, tmp_path / "more"):
        predictions_file.save(folder, small())
    found, wanted = predictions_file.load(tmp_path), small()
    assert list(found.logits) == ["mean", "first"] and (found.checkpoint, found.step) == ("last", 7)
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_array_equal(found.states, wanted.states)
    for name, values in wanted.logits.items():
        np.testing.assert_array_equal(found.logits[name], values)
    first, second = ((folder / predictions_file.FILE).read_bytes() for folder in (tmp_path, tmp_path / "more"))
    assert first == second
    with zipfile.ZipFile(tmp_path / predictions_file.FILE) as archive:
        assert all(b"object" not in archive.read(name)[:200] for name in archive.namelist())


def arrays(**changes) -> dict[str, np.ndarray]:
    found = small()
    logits = {f"logits.{name}": values for name, values in found.logits.items()}
    plain = {"format": np.int64(1), "ids": found.ids, "states": found.states, "checkpoint": np.array("last")}
    return plain | {"step": np.int64(7), "predictions": np.array(list(found.logits)), **logits} | changes


WRONG = [
    ({"format": np.int64(2)}, "is not a predictions-test.npz of format 1"),
    ({"format": np.array([1, 1])}, "is not a predictions-test.npz of format 1"),
    ({"ids": np.arange(5)}, "is damaged: ids is int64"),
    ({"ids": np.array(["a"])}, "is damaged: states is int8 .* for 1 images"),
    ({"states": np.full((5, 6), 4, np.int8)}, "is damaged: states has other values than 0 to 3"),
    ({"states": np.zeros((5, 6))}, "is damaged: states is float64"),
    ({"logits.mean": np.zeros((5, 6))}, "is damaged: logits.mean is float64"),
    ({"logits.first": np.zeros((5, 2), np.float32)}, r"is damaged: logits.first is float32 \(5, 2\)"),
    ({"predictions": np.array([], np.str_)}, "is damaged: it has no prediction"),
    ({"predictions": np.array(["other"])}, "is damaged: it has no 'logits.other'"),
    ({"ids": np.array([{}] * 5)}, "cannot be read .*allow_pickle"),
]


@pytest.mark.parametrize(("changes", "sentence"), WRONG)
def test_arrays_that_do_not_belong_are_one_sentence(tmp_path, changes, sentence):
    np.savez(tmp_path / predictions_file.FILE, **arrays(**changes))
    with pytest.raises(UserError, match=sentence) as caught:
        predictions_file.load(tmp_path)
    assert "\n" not in str(caught.value) and "ltpml evaluate --workdir" in str(caught.value)


def test_missing_torn_and_foreign_files_are_one_sentence(tmp_path):
    path = tmp_path / predictions_file.FILE
    with pytest.raises(UserError, match=f"^There is no predictions-test.npz in {tmp_path}; finish its run, or make it"):
        predictions_file.load(tmp_path)
    predictions_file.save(tmp_path, small())
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[200] ^= 255
    for data in (whole[: len(whole) // 2], b"", b"text", bytes(flipped)):
        path.write_bytes(data)
        with pytest.raises(UserError, match="predictions-test.npz") as caught:
            predictions_file.load(tmp_path)
        assert "\n" not in str(caught.value) and "pickle" not in str(caught.value)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(UserError, match="is not a predictions-test.npz of format 1"):
        predictions_file.load(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match=r"predictions-test.npz cannot be written \(No such file or directory\)"):
        predictions_file.save(tmp_path / "gone", small())
