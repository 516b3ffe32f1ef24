"""The network of a run from its work directory alone: which arrays are read, and what is refused."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltpml_jax import workdir as workdirs
from ltpml_jax.config import validate
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import model_file
from ltpml_jax.evaluation.trained_network import TrainedNetwork, load_network
from ltpml_jax.experiment import build_experiment, fresh_state, identity
from ltpml_jax.runtime import checkpoints
from ltpml_jax.state import make_mesh
from tests.helpers import runs, session

pytestmark = pytest.mark.processes


@functools.cache
def averaged() -> Path:
    """A run that keeps an average, with checkpoints of steps 3 (the best) and 7, all weights 3 or 7, means 103, 107."""
    return session.once("averaged", save_both)


def save_both(folder: Path) -> None:
    config = runs.config(optim__ema=0.9, method__name="bce")
    run = build_experiment(config, folder, make_mesh(jax.devices()[:1]), "random")
    state = fresh_state(run)
    folder.mkdir()
    workdirs.claim(config, folder)
    model_file.save(run)
    with checkpoints.open_manager(folder) as manager:
        for step, score in ((3, 60.0), (7, 50.0)):
            now = state._replace(
                step=jnp.int32(step),
                params=jax.tree.map(lambda leaf: jnp.full_like(leaf, step), state.params),  # noqa: B023
                average=jax.tree.map(lambda leaf: jnp.full_like(leaf, 100 + step), state.average),  # noqa: B023
            )
            checkpoints.save(manager, now, {"next_batch": step}, identity(run), score)


def load(folder: Path, checkpoint: str = "last", **changes) -> TrainedNetwork:
    """On two devices, where the folder of the dataset does not exist."""
    config = workdirs.saved_config(folder)
    config.data.update({"dir": "/proc/no such folder", **changes})
    validate(config)
    return load_network(config, folder, make_mesh(jax.devices()[:2]), checkpoint)


@pytest.mark.parametrize(("checkpoint", "step"), [("last", 7), ("best", 3)])
def test_the_average_of_the_checkpoint_is_read(checkpoint, step):
    found = load(averaged(), checkpoint)
    assert found.step == step and len(found.class_names) == 20
    for leaf in jax.tree.leaves(found.weights):
        np.testing.assert_array_equal(leaf, 100 + step)
        assert len(leaf.sharding.device_set) == 2


def test_what_is_restored_is_the_state_that_was_saved():
    found = load(runs.finished())
    config = runs.config(train__checkpoint_every=4)
    run = build_experiment(config, runs.finished(), make_mesh(jax.devices()[:1]), "none")
    with checkpoints.open_manager(runs.finished(), read_only=True) as manager:
        saved = checkpoints.restore(manager, 18, run.shapes, None).state
    assert jax.tree.structure((found.weights, found.rest)) == jax.tree.structure((saved.params, saved.rest))
    jax.tree.map(np.testing.assert_array_equal, (found.weights, found.rest), (saved.params, saved.rest))


def test_what_is_no_kind_of_checkpoint_is_refused():
    with pytest.raises(UserError, match="is 'first'; choose one of last, best"):
        load(runs.finished(), "first")


def test_a_run_without_held_out_images_has_no_best(tmp_path):
    folder = runs.copy_of_finished(tmp_path)
    for file in (folder / "checkpoints").glob("*/metrics/metrics"):
        file.unlink()
    with pytest.raises(UserError, match="No checkpoint in .* was judged on held-out images; take the last one"):
        load(folder, "best")


def test_a_checkpoint_of_another_config_is_refused():
    with pytest.raises(
        UserError, match=r"checkpoints/7 was saved with another config \(data.image_size was 16, now 48\)"
    ):
        load(averaged(), image_size=48)


def test_a_model_file_of_other_labels_is_refused(tmp_path):
    folder = runs.copy_of_finished(tmp_path)
    record = json.loads((folder / "model.json").read_text())
    record["dataset"]["candidates_sha256"] = "0" * 64
    (folder / "model.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="checkpoints/18 was trained on other candidate sets than model.json names"):
        load(folder)


def test_damage_is_one_sentence(tmp_path):
    folder = runs.copy_of_finished(tmp_path)
    file = max((folder / "checkpoints" / "18").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"The checkpoint .*/18 cannot be read as a state of this run"):
        load(folder)


def test_fewer_classes_than_were_trained_are_refused(tmp_path):
    folder = runs.copy_of_finished(tmp_path)
    record = json.loads((folder / "model.json").read_text())
    record |= {"class_names": ["a"], "class_counts": [1.0], "groups": {"head": [0], "medium": [], "tail": []}}
    (folder / "model.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"The checkpoint .*/18 cannot be read as a state of this run"):
        load(folder)
