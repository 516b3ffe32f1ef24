"""The export command: the weights of the newest checkpoint, under the names that other runs read."""

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from ltpml_jax import cli
from ltpml_jax.commands import export
from ltpml_jax.errors import UserError
from ltpml_jax.experiment import build_experiment, fresh_state
from ltpml_jax.models import pretrained
from ltpml_jax.runtime import checkpoints
from ltpml_jax.state import make_mesh
from tests.helpers import runs


def run(out) -> None:
    export.COMMAND.run(cli.parse("export", export.COMMAND, [f"--workdir={runs.finished()}", f"--out={out}"]))


def test_another_run_starts_from_what_was_exported(tmp_path):
    run(tmp_path / "w.safetensors")
    config = runs.config(train__checkpoint_every=4)
    opened = build_experiment(config, runs.finished(), make_mesh(jax.devices()[:1]), pretrained=False)
    fresh = fresh_state(opened)
    model = nnx.merge(opened.parts.graphdef, fresh.params, fresh.rest)
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


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match=rf"^The file {tmp_path}/no/w cannot be written \(No such file or directory\)"):
        run(tmp_path / "no" / "w")


def test_both_flags_are_needed():
    with pytest.raises(UserError, match=r"^--workdir and --out are missing; see `ltpml export --help`\.$"):
        cli.parse("export", export.COMMAND, [])
