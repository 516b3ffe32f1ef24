"""The notebook's door: what `import ltpml_jax` offers, what it costs, and a run opened again."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import jax.numpy as jnp
import numpy as np
import pytest

import ltpml_jax
from ltpml_jax import METHODS, Method, default_config, open_run, train, trainer
from ltpml_jax.data import datasets
from ltpml_jax.errors import UserError
from tests.helpers import runs

pytestmark = pytest.mark.processes


def test_the_door_leads_where_it_says():
    assert train is trainer.train and Method is METHODS["ndlp"].make.__annotations__["return"]
    assert set(ltpml_jax.__all__) <= set(dir(ltpml_jax))
    assert default_config().method.name == "ndlp"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ltpml_jax.nothing


def test_importing_costs_nothing_until_a_name_is_used():
    code = "import ltpml_jax, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=runs.ROOT)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "ltpml_jax" in loaded and not loaded & {"jax", "numpy", "flax", "orbax", "grain", "ml_collections"}


def test_an_opened_run_predicts_what_it_was_evaluated_on(tmp_path: Path):
    """Test images as arrays and as files give the logits behind the run's own table."""
    opened = open_run(runs.finished())
    assert opened.config.data.name == "digits_mlt" and len(opened.class_names) == 20
    records = datasets.load("digits_mlt", str(runs.data_dir())).test.records
    encoded = [records[row]["image"] for row in range(5)]
    arrays = [cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR_RGB) for one in encoded]
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path, one in zip(paths, encoded, strict=True):
        path.write_bytes(one)
    from_arrays, from_files = opened.predict(arrays), opened.predict(paths)
    assert from_arrays.shape == (5, 20) and from_arrays.dtype == np.float32
    np.testing.assert_array_equal(from_arrays, from_files)
    assert opened.predict([]).shape == (0, 20)
    column = np.array([str(path) for path in paths], object)
    np.testing.assert_array_equal(opened.predict(column), from_files)
    table = json.loads((runs.finished() / "results.json").read_text())["test"]["last (epoch 2)"]
    assert opened.test_scores()["network"]["mAP_total"] == pytest.approx(table["mAP_total"], abs=0.05)


def test_another_folder_of_the_program_changes_nothing(tmp_path: Path, monkeypatch):
    """And ~ is the home everywhere."""
    monkeypatch.chdir(runs.finished().parent)
    monkeypatch.setenv("HOME", str(tmp_path))
    opened = open_run(runs.finished().name, data_dir=runs.data_dir())
    monkeypatch.chdir(tmp_path)
    assert opened.beliefs()[0].shape == (1080, 20)
    opened.export("~/model", ["safetensors"])
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "one.png"), image[..., ::-1])
    np.testing.assert_array_equal(opened.predict(["~/one.png"]), opened.predict([image]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "one.png"]


def test_predictions_need_no_dataset(tmp_path: Path):
    (tmp_path / "file").touch()
    gone, there = open_run(runs.finished(), data_dir=str(tmp_path / "file")), open_run(runs.finished())
    images = [np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8) for number in range(3)]
    np.testing.assert_array_equal(gone.predict(iter(images)), there.predict(images))
    assert gone.class_names == there.run.task.dataset.class_names
    for question in (gone.test_scores, gone.beliefs):
        with pytest.raises(UserError, match="^Cannot build digits_mlt in .*; name a writable folder.$"):
            question()


def test_a_run_of_an_earlier_version_takes_its_classes_from_the_dataset(tmp_path: Path):
    folder = runs.copy_of_finished(tmp_path)
    (folder / "model.json").unlink()
    assert open_run(folder).class_names == open_run(runs.finished()).class_names
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="^Cannot build digits_mlt"):
        open_run(folder, data_dir=str(tmp_path / "file"))


def test_all_devices_give_what_one_gives():
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    one, eight = open_run(runs.finished()), open_run(runs.finished(), all_devices=True)
    assert eight.mesh.size == 8
    np.testing.assert_allclose(one.predict([image]), eight.predict([image]), rtol=1e-5, atol=1e-5)


def test_beliefs_are_those_of_the_training_images():
    soft, hard = open_run(str(runs.finished())).beliefs()
    assert soft.shape == hard.shape == (1080, 20)
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-4)


ODD = [
    np.zeros((4, 5), np.uint8),  # grey
    np.zeros((4, 5, 4), np.uint8),
    np.zeros((3, 4, 5), np.uint8),
    np.zeros((4, 5, 3), np.float32),
    np.zeros((4, 5, 3), bool),
    np.zeros((0, 5, 3), np.uint8),
    None,
]


def test_arrays_of_another_form_are_not_predicted():
    opened = open_run(runs.finished())
    for image in ODD:
        with pytest.raises(UserError, match=r"^An image is an array of .*; give uint8 \[height, width, 3\] of R, G, B"):
            opened.predict([image])
    good = np.zeros((2, 4, 5, 3), np.uint8)
    for alone in ("a.jpg", Path("a.jpg"), good[0], jnp.asarray(good[0])):
        with pytest.raises(UserError, match="^One image or path was given where a list"):
            opened.predict(alone)
    np.testing.assert_array_equal(opened.predict(good), opened.predict(list(jnp.asarray(good))))


def test_what_cannot_be_opened_or_read_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=f"no run in {tmp_path}"):
        open_run(tmp_path)
    (tmp_path / "torn.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"The image .*torn.png cannot be read .*; give a whole image file"):
        open_run(runs.finished()).predict([tmp_path / "torn.png"])
    with pytest.raises(UserError, match="The image .*missing.png cannot be read"):
        open_run(runs.finished()).predict([tmp_path / "missing.png"])
