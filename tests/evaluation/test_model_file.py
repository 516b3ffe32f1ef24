"""model.json: what a run writes into it, and what is refused when it is read."""

import json

import jax
import numpy as np
import pytest

from ltpml_jax.data import corruption, manifest
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import model_file
from ltpml_jax.experiment import build_experiment
from ltpml_jax.state import make_mesh
from tests.helpers import runs, workdirs


@pytest.mark.processes
def test_a_run_describes_itself():
    workdir = runs.finished()
    config = runs.config(train__checkpoint_every=4)
    run = build_experiment(config, workdir, make_mesh(jax.devices()[:1]), "none")
    found, data = model_file.load(workdir), run.task.dataset
    assert found.class_names == data.class_names
    for name, mask in data.groups.items():
        np.testing.assert_array_equal(found.groups[name], mask)
    np.testing.assert_allclose(found.class_counts, run.task.prior.class_count)
    assert found.record["counts_are"] == "estimated" and found.record["predictions"] == ["network"]
    assert found.record["mean"] == [0.485, 0.456, 0.406] and found.record["std"] == [0.229, 0.224, 0.225]
    assert (found.record["image_size"], found.record["resize"]) == (16, "opencv")
    assert found.record["dataset"] == {
        "name": "digits_mlt",
        "training_images": 1080,
        "states_sha256": manifest.digest(data.train.labels),
        "candidates_sha256": run.task.digest,
    }
    assert found.record["candidates"] == {"kind": "partial", "parameters": {"rate": 0.3}, "seed": 0}


def test_candidates_of_a_file_say_how_they_were_made(tmp_path):
    labels = np.eye(4, dtype=np.int8)
    path, origin = tmp_path / "c.safetensors", {"kind": "missing", "parameters": {"rate": 0.5}, "seed": 3}
    manifest.save(path, corruption.missing(labels, 0.5, 3, False), origin)
    assert model_file.candidates_origin(runs.config(data__candidates=str(path))) == origin
    assert model_file.candidates_origin(runs.config(data__partial_rate=0.0))["kind"] == "prepared"
    assert model_file.candidates_origin(runs.config(data__labels="clean"))["kind"] == "clean"
    missing = {
        "data__noise": "missing",
        "data__unknown": "unknown",
        "data__missing_rate": 0.4,
        "data__candidate_seed": 2,
    }
    assert model_file.candidates_origin(runs.config(**missing)) == {
        "kind": "missing",
        "parameters": {"rate": 0.4, "keep_one": False},
        "seed": 2,
    }


def write(folder, text: str):
    (folder / "model.json").write_text(text)
    return folder


def without(name: str) -> str:
    return json.dumps({key: value for key, value in workdirs.record().items() if key != name})


WRONG = [
    ("", r"model.json is damaged: it is not JSON; `ltpml evaluate --workdir=.* --predictions` makes it"),
    ("[" * 100_000, "model.json is damaged: it is not JSON"),
    ("[]", "model.json is not a model.json of format 1"),
    ("{}", "model.json is not a model.json of format 1"),
    (json.dumps(workdirs.record(format=2)), "is not a model.json of format 1"),
    (without("class_names"), "is damaged: it has no 'class_names'"),
    (without("mean"), "is damaged: it has no 'mean'"),
    (json.dumps(workdirs.record(class_counts=[1.0])), "is damaged: it has 1 class counts for 6 classes"),
    (json.dumps(workdirs.record(groups={"head": [9], "medium": [], "tail": []})), "is damaged: index 9 is out"),
    (json.dumps(workdirs.record(groups=3)), "is damaged: "),
    (json.dumps(workdirs.record(class_counts=["x"])), "is damaged: "),
    *[
        (json.dumps(workdirs.record(**{name: value})), f"is damaged: its field '{name}' is not as written")
        for name, value in [
            ("dataset", None),
            ("dataset", {}),
            ("dataset", {"name": "a", "training_images": None, "candidates_sha256": ""}),
            ("dataset", {"name": "a", "training_images": float("nan"), "candidates_sha256": ""}),
            ("candidates", None),
            ("candidates", {"kind": {}, "parameters": {}}),
            ("image_size", "x"),
            ("image_size", 10**18),
            ("groups", {"head": [-1], "medium": [], "tail": []}),
            ("class_counts", [float("nan")] * 6),
            ("class_names", [1] * 6),
            ("predictions", "network"),
        ]
    ],
    (json.dumps(workdirs.record(groups={"head": [float("inf")], "medium": [], "tail": []})), "is damaged: "),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG)
def test_what_is_no_sound_model_file_is_one_sentence(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        model_file.load(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_one_is_named_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(
        UserError, match=rf"^There is no model.json in {tmp_path}; `ltpml evaluate --workdir={tmp_path}"
    ):
        model_file.load(tmp_path)


def test_a_sound_one_is_read(tmp_path):
    found = model_file.load(write(tmp_path, json.dumps(workdirs.record())))
    assert found.class_names == tuple("abcdef") and found.groups["tail"].tolist() == [False] * 4 + [True] * 2
