"""The export command: the weights of the newest checkpoint, under the names that other runs read."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from jax import export as jax_export
from safetensors.numpy import load_file

from ltpml_jax import cli, open_run
from ltpml_jax.commands import export
from ltpml_jax.errors import UserError
from ltpml_jax.experiment import build_experiment
from ltpml_jax.models import pretrained
from ltpml_jax.runtime import checkpoints
from ltpml_jax.state import make_mesh
from tests.helpers import runs


def run(out, *words, workdir=None) -> None:
    words = [f"--workdir={workdir or runs.finished()}", f"--out={out}", *words]
    export.COMMAND.run(cli.parse("export", export.COMMAND, words))


@pytest.mark.processes
def test_another_run_starts_from_what_was_exported(tmp_path):
    run(tmp_path / "w.safetensors")
    config = runs.config(train__checkpoint_every=4)
    opened = build_experiment(config, runs.finished(), make_mesh(jax.devices()[:1]), "none")
    model = nnx.merge(*opened.parts)  # of shapes
    pretrained.load_backbone(model, tmp_path / "w.safetensors")
    with checkpoints.open_manager(runs.finished(), read_only=True) as manager:
        trained = checkpoints.restore(manager, 18, opened.shapes, None).state
    expected = nnx.merge(opened.parts.graphdef, trained.params, trained.rest)
    pretrained.save_backbone(model, tmp_path / "read.safetensors")
    pretrained.save_backbone(expected, tmp_path / "trained.safetensors")
    read, kept = load_file(tmp_path / "read.safetensors"), load_file(tmp_path / "trained.safetensors")
    assert read.keys() == kept.keys() and len(read) > 10
    for name in read:
        np.testing.assert_array_equal(read[name], kept[name])


@pytest.mark.processes
def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(
        UserError, match=rf"^The file {tmp_path}/no/w.safetensors cannot be written \(No such file or directory\)"
    ):
        run(tmp_path / "no" / "w.safetensors")
    (tmp_path / "mine.safetensors").write_text("precious")
    with pytest.raises(UserError, match=r"mine.safetensors exists; remove it, or give another --out\.$"):
        run(tmp_path / "mine.safetensors")
    assert (tmp_path / "mine.safetensors").read_text() == "precious"


def test_both_flags_are_needed():
    with pytest.raises(UserError, match=r"^--workdir and --out are missing; see `ltpml export --help`\.$"):
        cli.parse("export", export.COMMAND, [])


def test_formats_are_those_of_a_folder():
    with pytest.raises(UserError, match=r"^--formats are those of a folder, but --out=a.safetensors is a file"):
        cli.parse("export", export.COMMAND, ["--workdir=x", "--out=a.safetensors", "--formats=timm"])


def test_wrong_formats_and_folders_are_refused_before_anything_is_opened(tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(UserError, match="There is no format 'tim'"):
        run(tmp_path / "out", "--formats=tim", workdir="nowhere")
    with pytest.raises(UserError, match="is not empty"):
        run(tmp_path, workdir="nowhere")
    with pytest.raises(UserError, match="There is no run in nowhere"):
        run(tmp_path / "out", workdir="nowhere")


def without_dataset(to) -> Path:
    """A copy of the run whose dataset is gone."""
    workdir = runs.copy_of_finished(to)
    record = json.loads((workdir / "config.json").read_text())
    record["data"]["dir"] = str(to / "gone")
    (workdir / "config.json").write_text(json.dumps(record))
    return workdir


@pytest.mark.processes
def test_a_run_without_its_dataset_exports_what_it_predicts(tmp_path):
    workdir = without_dataset(tmp_path)
    run(tmp_path / "out", "--formats=stablehlo,safetensors", workdir=workdir)
    with np.load(tmp_path / "out" / "check.npz") as check:
        images, logits = check["images"], check["logits"]
    found = open_run(workdir).predict(list(images))
    assert np.abs(found - logits).max() <= 1e-5 * np.abs(logits).max()
    stored = jax_export.deserialize(bytearray((tmp_path / "out" / "model.jaxexport").read_bytes()))
    assert np.abs(stored.call(images) - logits).max() <= 1e-5 * np.abs(logits).max()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| dataset | digits\\_mlt, 1080 training images |" in card and "| last (epoch 2) |" in card
    assert not (tmp_path / "gone").exists()


@pytest.mark.processes
def test_the_door_exports_as_the_command_and_says_which_files(tmp_path):
    run(tmp_path / "a", "--formats=safetensors")
    names = open_run(runs.finished()).export(tmp_path / "b", ["safetensors"])
    assert sorted(names) == sorted(path.name for path in (tmp_path / "a").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.processes
def test_a_run_without_model_json_is_named_with_the_command_that_makes_it(tmp_path):
    workdir = runs.copy_of_finished(tmp_path)
    (workdir / "model.json").unlink()
    with pytest.raises(UserError, match=r"There is no model\.json in .*; `ltpml evaluate --workdir=.* --predictions`"):
        run(tmp_path / "out", workdir=workdir)
