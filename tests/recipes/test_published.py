"""Every published recipe is a valid config, and takes a step at small size."""

import contextlib
import itertools

import jax
import numpy as np
import pytest

from configs import coco_mlt, nuswide_lt, voc_mlt
from ltpml_jax.config import validate
from ltpml_jax.data import loader
from ltpml_jax.experiment import build_experiment, compile_step, fresh_state
from ltpml_jax.methods.all_methods import METHODS
from ltpml_jax.state import make_mesh
from tests.helpers import tiny, trees

pytestmark = pytest.mark.usefixtures("least_optimised")

CONFIGS = {"voc": voc_mlt, "coco": coco_mlt, "nuswide": nuswide_lt}
NOISES = ("0.3", "missing=0.4", "left=0.75", "left=0.5", "left=0.25", "single", "tail_biased=0.3")
FIRST_STAGE = [name for name, entry in METHODS.items() if not entry.second_stage]


@pytest.mark.parametrize("family", CONFIGS)
def test_every_recipe_is_valid_under_every_noise(family):
    for method, noise in itertools.product(METHODS, NOISES):
        config = CONFIGS[family].get_config(f"{noise},method={method}")
        config.model.start_from = "runs/first" if METHODS[method].second_stage else ""
        validate(config)
        assert config.method.name == method


@pytest.mark.parametrize(
    ("family", "noise", "tau_h", "tau_l"),
    [
        ("voc", "left=0.75", 0.002, 0.02),
        ("voc", "left=0.25", 0.005, 0.02),
        ("coco", "left=0.5", 0.010, 0.06),
        ("nuswide", "single", 0.020, 0.06),
    ],
)
def test_the_recipe_of_cls_is_that_of_its_table(family, noise, tau_h, tau_l):
    config = CONFIGS[family].get_config(f"{noise},method=cls")
    assert (config.cls.tau_h, config.cls.tau_l, config.cls.ramp_epochs) == (tau_h, tau_l, 10)
    assert (config.optim.name, config.optim.learning_rate, config.optim.schedule) == ("adam", 4e-5, "cosine")
    assert (config.data.batch_size, config.train.epochs, config.data.drop_empty) == (120, 100, False)
    assert config.data.min_crop == config.data.max_crop == 224 / 256


def test_the_recipe_of_comic_is_that_of_its_code():
    config = voc_mlt.get_config("missing=0.4,method=comic")
    assert (config.data.noise, config.data.missing_rate, config.data.drop_empty) == ("missing", 0.4, True)
    assert (config.data.unknown, config.model.frozen_stages, config.train.epochs) == ("unknown", 4, 40)
    assert config.optim.drop_every.endswith("head=12,tail=24")
    assert coco_mlt.get_config("missing=0.4,method=comic").optim.drop_every.endswith("head=24,tail=12")


def test_bce_has_the_recipe_of_the_other_baselines_and_lws_its_rate_for_the_batch():
    bce, wan = (voc_mlt.get_config(f"missing=0.4,method={name}").to_dict() for name in ("bce", "wan"))
    for part in ("data", "optim", "train", "model", "jitter"):
        assert bce[part] == wan[part], part
    lws = voc_mlt.get_config("missing=0.4,method=lws")
    assert (lws.data.batch_size, lws.optim.learning_rate) == (32, 0.0125)


def test_hyper_parameters_follow_the_data_set():
    pu, role = "left=0.5,method=pu_mlc", "single,method=role"
    assert (voc_mlt.get_config(pu).pu_mlc.gamma, coco_mlt.get_config(pu).pu_mlc.gamma) == (0.85, 0.55)
    assert nuswide_lt.get_config(role).role.expected_positives == 1.9
    assert voc_mlt.get_config(role).role.label_rate == pytest.approx(4e-4)
    assert voc_mlt.get_config("left=0.75,method=splc").splc.threshold == 0.65
    assert voc_mlt.get_config("left=0.5,method=pasl").pasl.top_k == 1


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(trees.prepared(tmp_path_factory.mktemp("data"), "voc_mlt", 20))


@pytest.mark.parametrize("method", FIRST_STAGE)
def test_a_step_of_every_recipe(method, data_dir, tmp_path):
    """On a network that compiles quickly, with plain draws; test_recipes.py takes whole steps of ndlp's."""
    config = voc_mlt.get_config(f"missing=0.4,method={method}")
    config.update_from_flattened_dict({
        "data.dir": data_dir, "data.image_size": 8, "data.batch_size": 16, "model.pretrained": "",
        "comic.feature_width": 16, "comic.attention_width": 16,
    })  # fmt: skip
    with tiny.everywhere():
        run = build_experiment(config, tmp_path, make_mesh(jax.devices()[:1]), "named")
    with tiny.plain_draws(), contextlib.closing(loader.train_iterator(config, run.task, run.mesh)) as batches:
        state, metrics = compile_step(run)(fresh_state(run), next(batches))
    assert int(state.step) == 1 and int(state.skipped) == 0 and np.isfinite(float(metrics["loss"]))
