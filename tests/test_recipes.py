"""The recipes of the paper's datasets: what they differ in, their full size as shapes, two real steps of each."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks.synthetic import assembled, random_batch
from configs import coco_mlt, nuswide_lt, voc_mlt
from ltpml_jax.config import default_config, fields, validate
from ltpml_jax.data import loader
from ltpml_jax.experiment import Experiment, build_experiment, compile_step, fresh_state
from ltpml_jax.state import make_mesh
from tests.helpers import tiny, trees

pytestmark = pytest.mark.usefixtures("least_optimised")

RECIPES = {"voc_mlt": (voc_mlt, 20), "coco_mlt": (coco_mlt, 80), "nuswide_lt": (nuswide_lt, 81)}
ARGUMENTS = ("0.05", "0.05,reference")
# ndlp.md: the settings of the released code, by dataset family.
PUBLISHED = {
    "voc": {"ndlp.gamma": 3.0, "db.neg_scale": 5.0, "db.map_theta": 0.3},
    "coco": {"ndlp.gamma": 2.0, "db.neg_scale": 2.0, "db.map_theta": 0.2},
    "nuswide": {"ndlp.gamma": 2.0, "db.neg_scale": 2.0, "db.map_theta": 0.2},
}
SHARED = {
    "data.batch_size": 32, "data.image_size": 224, "data.sampler": "class_aware", "data.flip": 0.5,
    "data.min_crop": 0.8, "data.crop_ratio": (0.5, 2.0), "model.backbone": "resnet50",
    "model.frozen_stages": 1, "model.neck_width": 256,
    "model.backbone_norm": "stored", "model.dropout": 0.5, "train.epochs": 10, "optim.learning_rate": 0.02,
    "optim.momentum": 0.9, "optim.weight_decay": 1e-4, "db.init_bias": 0.05, "db.map_alpha": 0.1, "db.map_beta": 10.0,
    "ndlp.alpha": (0.4, 0.8), "ndlp.eta": 0.9, "ndlp.correction_rate": 0.1, "ndlp.mixup_concentration": 4.0,
    "jitter.brightness": 32.0, "jitter.contrast": (0.5, 1.5), "jitter.saturation": (0.5, 1.5), "jitter.hue": 18.0,
    "jitter.channel_shuffle": True,
}  # fmt: skip


def differing(one, other) -> dict[str, tuple]:
    mine, theirs = fields(one), fields(other)
    return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_a_recipe_has_the_published_settings(name, argument):
    config = RECIPES[name][0].get_config(argument)
    validate(config)
    values = fields(config)
    expected = SHARED | PUBLISHED[name.partition("_")[0]] | {"data.partial_rate": 0.05}
    assert {field: values[field] for field in expected} == expected
    assert values["model.pretrained"] == "hf:timm/resnet50.tv_in1k"
    assert values["data.name"] == name


@pytest.mark.parametrize("name", RECIPES)
def test_the_reference_recipe_differs_in_priors_validation_and_resize(name):
    module, _ = RECIPES[name]
    assert differing(module.get_config(), module.get_config("reference")) == {
        "data.priors": ("estimated", "oracle"),
        "data.validation": (0.1, 0.0),
        "data.resize": ("fast", "opencv"),
    }


def test_a_recipe_s_own_settings_are_few():
    assert len(differing(default_config(), voc_mlt.get_config())) <= 6


def of_shapes(make: Callable[[], Experiment]) -> Experiment:
    """An experiment that is traced and not computed: its shapes and the step's program are those of the real one."""
    made: list[Experiment] = []
    jax.eval_shape(lambda: made.append(make()))
    return made[0]


@functools.cache
def full_size(name: str) -> Experiment:
    module, classes = RECIPES[name]
    return of_shapes(lambda: assembled(module.get_config(), 1000, classes, jax.devices()[:1]))


@pytest.mark.parametrize("name", RECIPES)
def test_the_full_size_network_is_the_published_one(name):
    shapes = full_size(name).shapes
    assert shapes.params["backbone"]["layer4"][2]["conv3"]["kernel"].shape == (1, 1, 512, 2048)
    assert shapes.rows.shape == (1024, RECIPES[name][1])


def test_the_full_size_step_keeps_the_shapes_of_its_state():
    """ResNet-50 at 224 pixels, batch 32, 20 classes, traced and not run."""
    run = full_size("voc_mlt")
    new, metrics = jax.eval_shape(compile_step(run), run.shapes, random_batch(run, 0))
    assert jax.tree.map(described, new) == jax.tree.map(described, run.shapes)
    assert metrics["loss"].shape == metrics["loss_pass2"].shape == ()


def described(leaf) -> tuple:
    return leaf.shape, np.dtype(leaf.dtype)


def assert_takes_two_steps(name: str, argument: str, folder: Path, **changes) -> None:
    """From files to losses, through everything a run uses."""
    module, classes = RECIPES[name]
    config = module.get_config(argument)
    fields = {"data.dir": str(trees.prepared(folder, name, classes)), "data.batch_size": 16, "model.pretrained": ""}
    config.update_from_flattened_dict(fields | changes)
    run = build_experiment(config, folder, make_mesh(jax.devices()[:1]), "named")
    state, step, losses = fresh_state(run), compile_step(run), []
    with contextlib.closing(loader.train_iterator(config, run.task, run.mesh)) as batches:
        for _ in range(2):
            state, metrics = step(state, next(batches))
            losses.append(float(metrics["loss"]))
    assert int(state.step) == 2 and np.isfinite(losses).all() and losses[0] != losses[1]
    held_out = len(run.task.validation)
    assert (held_out == 0) == argument.endswith("reference") and len(run.task.train) + held_out == 60


@pytest.mark.parametrize(
    ("name", "argument"), [("voc_mlt", "0.05,reference"), ("coco_mlt", "0.05"), ("nuswide_lt", "0.05")]
)
def test_two_steps_of_every_recipe_on_a_network_that_compiles_quickly(name, argument, tmp_path):
    """With plain draws; and below, voc_mlt's without the argument, and with its own."""
    with tiny.everywhere(), tiny.plain_draws():
        assert_takes_two_steps(name, argument, tmp_path, **{"data.image_size": 8})


@pytest.mark.usefixtures("numpy_weights")
def test_two_steps_of_a_recipe_at_reduced_size(tmp_path):
    """With the pieces that the full size is made of; the other recipes differ in numbers."""
    small = {"data.image_size": 32, "model.backbone": "resnet_small", "model.frozen_stages": 3}
    assert_takes_two_steps("voc_mlt", "0.05", tmp_path, **small)
