"""Configs: parsing the argument, checking every field before any compile, and the copy in the work directory."""

import difflib
import json
import math
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from configs import default
from ltpml_jax.data import augment
from ltpml_jax.errors import UserError
from ltpml_jax.methods import METHODS
from ltpml_jax.models.resnet import ARCHITECTURES
from ltpml_jax.runtime.files import write_atomic
from ltpml_jax.types import Config

FILE = "config.json"
CHOICES = {
    "data.labels": ("candidates", "clean"),
    "data.unknown": ("candidate", "negative"),
    "data.unreadable": ("stop", "skip"),
    "data.resize": tuple(augment.RESIZES),
    "data.sampler": ("class_aware", "shuffle"),
    "model.backbone": tuple(ARCHITECTURES),
    "model.backbone_norm": ("stored", "batch"),
    "model.dtype": ("float32", "bfloat16"),
    "method.name": tuple(METHODS),
    "method.priors": ("estimated", "oracle"),
}
POSITIVE = (
    "data.batch_size", "data.image_size", "data.threads", "model.neck_width", "train.epochs", "eval.batch_size",
    "train.max_skipped", "optim.learning_rate", "db.neg_scale", "ndlp.gamma", "ndlp.mixup_concentration",
)  # fmt: skip
NOT_NEGATIVE = (
    "seed", "data.candidate_seed", "data.workers", "jitter.brightness", "jitter.hue", "train.devices",
    "train.checkpoint_every", "train.start_limit", "train.step_limit", "optim.weight_decay", "optim.momentum",
    "ndlp.eta", "ndlp.mixup_block",
)  # fmt: skip
BELOW_ONE = ("data.partial_rate", "data.validation", "model.dropout")
SHARES = ("data.flip", "data.min_crop", "ndlp.correction_rate")
RANGES = ("data.crop_ratio", "jitter.contrast", "jitter.saturation", "ndlp.alpha")
# What may change between a run and its continuation, because the result does not hang on it.
FREE = (
    "data.dir", "data.workers", "data.threads", "data.unreadable", "train.devices", "train.checkpoint_every",
    "train.max_skipped", "train.start_limit", "train.step_limit", "eval.batch_size",
)  # fmt: skip


def partial_rate(argument: str) -> float:
    """The partial rate that stands after the colon of --config; UserError where it is not in [0, 1)."""
    try:
        rate = float(argument)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < 1:
        raise UserError(f"The partial rate after the config file's colon is {argument!r}; give a number in [0, 1).")
    return rate


def fields(config: Config, prefix: str = "") -> dict[str, Any]:
    """All fields by dotted name."""
    out = {}
    for name, value in config.items():
        path = f"{prefix}{name}"
        out |= fields(value, f"{path}.") if isinstance(value, ConfigDict) else {path: value}
    return out


def check_names(names: Iterable[str], config: Config) -> None:
    """Raise UserError for a dotted field name that the config does not have, with the nearest that it has."""
    valid = fields(config)
    for name in names:
        if name not in valid:
            raise UserError(f"There is no config field {name!r}; did you mean {nearest(name, valid)!r}?")


def nearest(name: str, valid: Iterable[str]) -> str:
    """The valid name that is most like `name`."""
    return difflib.get_close_matches(name, list(valid), n=1, cutoff=0.0)[0]


def validate(config: Config) -> None:
    """Raise UserError for the first value that cannot work; nothing has been compiled or written by then."""
    values = fields(config)
    check_names(values, default.get_config())
    check_types(values, fields(default.get_config()))
    for name, choices in CHOICES.items():
        if values[name] not in choices:
            close = nearest(str(values[name]), choices)
            raise UserError(
                f"config.{name} is {values[name]!r}; choose one of {', '.join(choices)} (nearest: {close})."
            )
    _require(values, POSITIVE, lambda value: value > 0, "above 0")
    _require(values, NOT_NEGATIVE, lambda value: value >= 0, "0 or more")
    _require(values, BELOW_ONE, lambda value: 0 <= value < 1, "a number in [0, 1)")
    _require(values, SHARES, lambda value: 0 <= value <= 1, "a number in [0, 1]")
    _require(values, RANGES, lambda pair: len(pair) == 2 and 0 <= pair[0] <= pair[1] < math.inf, "a range (low, high)")
    _require(values, ("data.crop_ratio",), lambda pair: pair[0] > 0, "above 0")
    numbers = [name for name, value in values.items() if isinstance(value, float)]
    _require(values, numbers, math.isfinite, "a finite number")
    _require(values, ("model.frozen_stages",), lambda value: 0 <= value <= 4, "a whole number in 0..4")
    _require(values, ("data.min_crop",), lambda value: value > 0, "above 0")
    size = values["data.batch_size"]
    divides = f"0 or a divisor of config.data.batch_size, which is {size}"
    _require(values, ("ndlp.mixup_block",), lambda block: block == 0 or size % block == 0, divides)


def check_types(values: dict[str, Any], examples: dict[str, Any]) -> None:
    """Raise UserError for a field that is missing, or of another type than in `examples` (both by dotted name)."""
    for name, example in examples.items():
        if name not in values:
            raise UserError(f"The config has no field {name!r}; start it from configs/default.py.")
        if not _alike(values[name], example):
            kind = "tuple of numbers" if isinstance(example, tuple) else type(example).__name__
            raise UserError(f"config.{name} is {values[name]!r}; it must be of type {kind}, as in configs/default.py.")


def _alike(value: Any, example: Any) -> bool:
    if isinstance(example, tuple):  # JSON gives it back as a list
        return isinstance(value, list | tuple) and all(_alike(number, 0.0) for number in value)
    if isinstance(example, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(example)


def _require(values: dict[str, Any], names: Iterable[str], good: Callable[[Any], bool], wanted: str) -> None:
    for name in names:
        if not good(values[name]):  # a NaN fails every comparison, so it ends here too
            raise UserError(f"config.{name} is {values[name]!r}; it must be {wanted}.")


def settle(config: Config, workdir: Path) -> None:
    """Make the work directory belong to this config: write config.json, where there is none.

    For when everything that the config names has been found, so that a run that never began claims no directory.
    """
    path = workdir / FILE
    if not path.exists():
        write_atomic(path, config.to_json(indent=2, sort_keys=True) + "\n")


def check_workdir(config: Config, workdir: Path) -> None:
    """Raise UserError where the work directory cannot be written, or belongs to another config."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            pass
    except OSError as error:
        raise UserError(
            f"The work directory {workdir} cannot be written ({error.strerror}); give another --workdir."
        ) from None
    if not (workdir / FILE).exists():
        return
    changed = differences(saved(workdir), config)
    if changed:
        raise UserError(
            f"The work directory {workdir} belongs to another config ({'; '.join(changed)}); "
            "give another --workdir, or the config of that run."
        )


def saved(workdir: Path) -> Config:
    """The config of the run in a work directory; UserError where there is none."""
    path = workdir / FILE
    try:
        return from_json(path.read_text())
    except OSError:
        raise UserError(f"There is no run in {workdir} ({path} is missing); give the --workdir of a run.") from None
    except ValueError:
        raise UserError(f"{path} is not the JSON of a config; restore it, or start in another --workdir.") from None


def from_json(text: str) -> Config:
    """The inverse of Config.to_json, but for tuples, which come back as lists; ValueError for anything else."""
    record = json.loads(text)
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    return ConfigDict(record)


def differences(before: Config, after: Config) -> list[str]:
    """Fields that differ, as sentences, those that may differ left out."""
    old, new = fields(before), fields(from_json(after.to_json()))
    names = sorted((old.keys() | new.keys()) - set(FREE))
    missing = "absent"
    pairs = [(name, old.get(name, missing), new.get(name, missing)) for name in names]
    return [f"{name} was {before}, now {now}" for name, before, now in pairs if before != now]
