"""Config files build and validate; every wrong value is refused by name."""

from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs import digits_mlt, digits_pretrain, own_data
from ltpml_jax.config import (
    ALL,
    build_method,
    check_names,
    default_config,
    fields,
    settings,
    validate,
)
from ltpml_jax.data import augment
from ltpml_jax.errors import UserError
from ltpml_jax.models.resnet import ARCHITECTURES
from tests import test_recipes
from tests.helpers import runs


@pytest.mark.parametrize("make", [default_config, digits_mlt.get_config, digits_pretrain.get_config])
def test_every_config_builds_and_validates(make):
    validate(make())


def test_every_field_has_a_default_that_holds_and_a_meaning():
    found = settings()
    assert set(found) == set(fields(default_config())) and len(found) > 70
    for name, setting in found.items():
        assert setting.rule.holds(setting.default), name
        assert setting.meaning and setting.rule.wanted, name


def test_choices_are_those_of_the_code():
    found = settings()
    assert found["model.backbone"].rule.choices == tuple(ARCHITECTURES)
    assert set(found["data.resize"].rule.choices) == set(augment.RESIZES)


def test_no_config_file_is_left_out():
    modules = {digits_mlt, digits_pretrain, own_data}
    modules |= {module for module, _ in test_recipes.RECIPES.values()}
    assert {Path(module.__file__).name for module in modules} == {
        path.name for path in (runs.ROOT / "configs").glob("*.py") if path.name != "__init__.py"
    }


WRONG = {
    "data.unknown": "positive",
    "data.resize": "open_cv",
    "data.labels": "dirty",
    "data.sampler": "",
    "model.backbone": "resnet",
    "model.backbone_norm": "batches",
    "model.dtype": "float16",
    "method.name": "nldp",
    "data.priors": "true",
    "data.batch_size": 0,
    "data.image_size": -1,
    "data.threads": 0,
    "model.neck_width": 0,
    "train.epochs": 0,
    "eval.batch_size": 0,
    "optim.learning_rate": float("nan"),
    "db.neg_scale": 0.0,
    "ndlp.gamma": float("inf"),
    "ndlp.mixup_concentration": -1.0,
    "seed": -1,
    "data.candidate_seed": -1,
    "data.workers": -1,
    "jitter.brightness": -1.0,
    "jitter.hue": float("nan"),
    "train.devices": -1,
    "train.checkpoint_every": -1,
    "optim.weight_decay": float("-inf"),
    "optim.momentum": -0.1,
    "ndlp.eta": float("nan"),
    "data.partial_rate": 1.0,
    "data.validation": -0.1,
    "model.dropout": float("nan"),
    "data.flip": 1.1,
    "data.min_crop": 0.0,
    "data.max_crop": 1.5,
    "ndlp.correction_rate": 2.0,
    "data.crop_ratio": (0.0, 1.0),
    "jitter.contrast": (1.0,),
    "jitter.saturation": (1.5, 0.5),
    "ndlp.alpha": (float("nan"), 1.0),
    "model.frozen_stages": 5,
    "db.map_theta": float("nan"),
    "db.init_bias": float("inf"),
    "optim.name": "adamw",
    "optim.schedule": "cosin",
    "optim.drop_epochs": (7.0, 5.0),
    "optim.betas": (0.9, 1.0),
    "optim.ema": 1.0,
    "optim.clip_norm": -1.0,
}


TOO_LARGE: dict[str, object] = {
    "seed": 2**70,
    "data.image_size": 10**6,
    "train.epochs": 10**18,
    "optim.drop_epochs": (1e9,),
    "train.checkpoint_every": 10**20,
    "ndlp.alpha": (0, 10**400),
    "data.crop_ratio": (0.5, float("inf")),
    "splc.first_epoch": 3 * 10**9,
    "pasl.top_k": 3 * 10**9,
    "cls.ramp_epochs": 3 * 10**9,
    "small_loss.ramp_epochs": 3 * 10**9,
    "coteaching_plus.all_images_steps": 3 * 10**9,
}


@pytest.mark.parametrize("name,value", [*WRONG.items(), *TOO_LARGE.items()], ids=[*WRONG, *TOO_LARGE])
def test_a_value_that_cannot_work_is_refused_by_name(name, value):
    config = digits_mlt.get_config()
    config.update_from_flattened_dict({name: value})
    with pytest.raises(UserError, match=rf"config\.{name} is .*; .*\.$"):
        validate(config)


def test_the_nearest_choice_is_named():
    config = digits_mlt.get_config()
    config.method.name = "nldp"
    with pytest.raises(UserError, match="one of ndlp, .*custom .nearest: ndlp."):
        validate(config)


@pytest.mark.parametrize(
    "name,value",
    [
        ("train.epochs", "ten"),
        ("train.epochs", True),
        ("data.crop_ratio", ("a", "b")),
        ("ndlp.alpha", 0.5),
        ("model.fold_norm", 1),
        ("optim.learning_rate", "0.1"),
    ],
)
def test_a_config_file_with_another_type_is_refused(name, value):
    config = digits_mlt.get_config().copy_and_resolve_references()
    config.unlock()
    with config.ignore_type():
        config.update_from_flattened_dict({name: value})
    with pytest.raises(UserError, match=rf"config\.{name} is .* it must be of type"):
        validate(config)


def test_a_config_without_a_field_is_refused():
    config = digits_mlt.get_config()
    with config.unlocked():
        del config.model.dropout
    with pytest.raises(UserError, match="no field 'model.dropout'"):
        validate(config)


def test_a_field_that_a_config_file_made_up_is_refused():
    config = default_config()
    config.data.batchsize = 64
    with pytest.raises(UserError, match=r"no config field 'data.batchsize'; did you mean 'data.batch_size'"):
        validate(config)


def test_whole_numbers_serve_as_floats():
    config = digits_mlt.get_config()
    with config.ignore_type():
        config.optim.weight_decay = 0
    validate(config)


@pytest.mark.parametrize("name,near", [("data.batchsize", "data.batch_size"), ("dataa.x", "data."), ("lr", "")])
def test_an_unknown_name_gets_the_nearest_one(name, near):
    with pytest.raises(UserError, match=f"'{name}'; did you mean '{near}"):
        check_names([name], default_config())


def test_known_names_pass():
    config = default_config()
    check_names(fields(config), config)


def test_own_data_wants_the_name_of_a_dataset():
    for wrong in ("", " ", "method=bce", "mine,", "mine,0.3", "mine,reference", "mine,method=bce,method=ndlp"):
        with pytest.raises(UserError, match=f"colon are '{wrong}'; give the name .* --config=configs/own_data.py:NAME"):
            own_data.get_config(wrong)
    with pytest.raises(UserError, match="There is no method ''; did you mean"):
        own_data.get_config("mine,method=")
    config = own_data.get_config("mine")
    validate(config)
    assert config.data.name == "mine" and config.data.partial_rate == 0
    assert (config.method.name, config.data.unknown) == ("noise_model", "unknown")
    other = own_data.get_config("mine,method=ndlp")
    validate(other)
    assert (other.data.name, other.method.name, other.data.unknown) == ("mine", "ndlp", "candidate")
    assert own_data.get_config("mine, method=bce").data.unknown == "unknown"  # a candidate would be a positive to it
    summed = own_data.get_config("mine,method=asl").optim
    assert (summed.name, summed.learning_rate) == ("adam", 4e-5)


@pytest.mark.parametrize("noise", ["missing", "single"])
def test_most_labels_are_not_taken_for_candidates(noise):
    config = digits_mlt.get_config("0.0,method=bce")
    config.data.noise, config.data.missing_rate = noise, 0.4 if noise == "missing" else 0.0
    with pytest.raises(UserError, match="config.data.unknown is 'candidate'; set it to 'unknown' or 'negative', as"):
        validate(config)
    config.data.unknown = "unknown"
    validate(config)


def test_settings_of_a_method_that_do_not_fit_the_run_are_refused():
    config = digits_mlt.get_config()
    config.ndlp.mixup_block = 5
    with pytest.raises(UserError, match=r"ndlp.mixup_block is 5; it must be 0 or a divisor of .*, which is 32\.$"):
        validate(config)


def test_a_custom_method_is_not_built_from_its_name():
    config = digits_mlt.get_config()
    config.method.name = "custom"
    validate(config)
    assert build_method(config) is None


def test_sections_are_those_of_the_config():
    config = default_config()
    assert {name for name, value in config.items() if isinstance(value, ConfigDict)} == set(ALL)


@pytest.mark.parametrize("fold", ["0/3", "4/3", "1/1", "1", "a/b", "1/2/3", "-1/3", "1/0", " 1/3", "1/3\n", "\u0661/3"])
def test_a_fold_that_is_none_is_refused(fold):
    config = default_config()
    config.data.fold = fold
    with pytest.raises(
        UserError, match=r'^config.data.fold is .*; it must be "" or k/K: the fold k of K, k from 1 to K'
    ):
        validate(config)


def test_a_crop_that_begins_above_its_end_is_refused():
    config = digits_mlt.get_config()
    config.data.max_crop = 0.5
    with pytest.raises(UserError, match="^config.data.min_crop is 0.8; set it to at most max_crop.$"):
        validate(config)


def test_a_fold_and_a_validation_share_are_refused_together():
    config = default_config()
    config.data.fold = "3/3"
    validate(config)
    config.data.validation = 0.1
    with pytest.raises(
        UserError, match=r"^config.data.fold is '3/3' and config.data.validation 0.1; set one to '' or 0"
    ):
        validate(config)
