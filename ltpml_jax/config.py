"""Every config field, declared once, and validation before any compile.

A section is a NamedTuple of annotated fields (methods/settings.py says how); methods declare their own in their files.
docs/config.md is made of these declarations.
"""

from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

from ml_collections import ConfigDict

from ltpml_jax.data.field_rules import check_together
from ltpml_jax.errors import UserError, nearest
from ltpml_jax.methods.all_methods import METHODS, SECTIONS
from ltpml_jax.methods.base import Method, Plan
from ltpml_jax.methods.settings import (
    BELOW_ONE,
    FOLD,
    FREE,
    POSITIVE_SHARE,
    SHARE,
    SWITCH,
    TEXT,
    Config,
    Range,
    Rule,
    Setting,
    Used,
    above,
    at_least,
    between,
    declared,
    low_high,
    one_of,
)  # fmt: skip

CUSTOM = "custom"  # method.name of a run whose method was handed to `train`
COUNT, ANY_COUNT, SEED = between(1, 10**6), between(0, 10**6), between(0, 2**32 - 1)
FLIPS, DROPS = Used("noise", ("partial", "tail_biased")), Used("noise", ("missing",))
STEP, COSINE = (Used("schedule", (kind,)) for kind in ("step", "cosine"))
EPOCHS = Rule(lambda ends: [*ends] == sorted({e for e in ends if 0 < e <= 10**6}), "ascending epochs above 0")


class RunFields(NamedTuple):
    """Fields of no section."""

    seed: Annotated[int, SEED, "base of every random stream: initialisation, order, augmentation, dropout, mixup"] = 0


class DataFields(NamedTuple):
    """What is trained on, and how images are read."""

    name: Annotated[str, TEXT, "an embedded dataset (digits_mlt, digits_identity) or one that was prepared"] = (
        "digits_mlt"
    )
    dir: Annotated[str, TEXT, "where datasets lie, on any path that etils.epath opens", FREE] = "~/tensorflow_datasets"
    labels: Annotated[str, one_of("candidates", "clean"), "what training sees (clean: a ceiling, not LT-PML)"] = (
        "candidates"
    )
    candidates: Annotated[str, TEXT, 'a manifest of label states, made by `ltpml corrupt`; "" draws candidates'] = ""
    priors: Annotated[
        str, one_of("estimated", "oracle"), "class counts and the sampler's lists: from candidates, or the true ones"
    ] = "estimated"
    unknown: Annotated[
        str, one_of("candidate", "negative", "unknown"), "what a label that no annotator gave is (unknown: see methods)"
    ] = "candidate"
    noise: Annotated[
        str, one_of("partial", "tail_biased", "missing", "single"), "how clean labels are corrupted (corruption.py)"
    ] = "partial"
    partial_rate: Annotated[float, BELOW_ONE, "q: probability that a negative becomes a candidate", FLIPS] = 0.0
    missing_rate: Annotated[float, BELOW_ONE, "noise missing: probability that a positive becomes unknown", DROPS] = 0.0
    drop_empty: Annotated[bool, SWITCH, "leave out training images without a positive or candidate"] = False
    candidate_seed: Annotated[int, SEED, "seed of the candidate sets; with q and the labels it fixes them"] = 0
    validation: Annotated[float, BELOW_ONE, "share of training images held out, by candidates, to choose `best`"] = 0.0
    fold: Annotated[
        str, FOLD, "hold out this fold of the training images instead; K runs, one a fold, hold out each image once"
    ] = ""  # fmt: skip
    sampler: Annotated[str, one_of("class_aware", "shuffle"), "order of the training images"] = "class_aware"
    batch_size: Annotated[int, COUNT, "global batch, over all devices"] = 32
    image_size: Annotated[int, between(8, 4096), "side in pixels after cropping; the ratio is not kept"] = 224
    min_crop: Annotated[float, POSITIVE_SHARE, "smallest side of the random crop, as a share of the image's"] = 0.8
    max_crop: Annotated[float, POSITIVE_SHARE, "largest side, likewise; equal to min_crop: crops of one size"] = 1.0
    crop_ratio: Annotated[Range, low_high(1e-6), "range of width / height of the random crop"] = (0.5, 2.0)
    resize: Annotated[
        str, one_of("opencv", "pillow", "fast"), "as the reference, as torchvision, or JPEGs decoded smaller"
    ] = "opencv"
    unreadable: Annotated[
        str, one_of("stop", "skip"), "an image that cannot be read; skip: the next one takes its place", FREE
    ] = "stop"
    flip: Annotated[float, SHARE, "probability of a horizontal flip"] = 0.5
    workers: Annotated[int, ANY_COUNT, "grain worker processes; 0 reads in threads of this process", FREE] = 0
    threads: Annotated[int, COUNT, "reading threads (of each worker)", FREE] = 2


class JitterFields(NamedTuple):
    """Photometric distortion; each part is applied to an image with probability 1/2."""

    brightness: Annotated[float, at_least(0), "added, in units of 0..255"] = 32.0
    contrast: Annotated[Range, low_high(), "factor"] = (0.5, 1.5)
    saturation: Annotated[Range, low_high(), "factor"] = (0.5, 1.5)
    hue: Annotated[float, at_least(0), "shift in degrees"] = 18.0
    channel_shuffle: Annotated[bool, SWITCH, "permute R, G, B"] = True


class ModelFields(NamedTuple):
    """The classifier that a method's network is made of."""

    backbone: Annotated[
        str, one_of("resnet18", "resnet34", "resnet50", "resnet101", "resnet_small"), "architecture"
    ] = "resnet50"  # fmt: skip
    pretrained: Annotated[
        str, TEXT, 'a .safetensors or .pth path, hf:OWNER/NAME[/FILE], digits_small; "" for random weights'
    ] = ""  # fmt: skip
    start_from: Annotated[
        str, TEXT, 'work directory of a run whose newest checkpoint the whole network starts from; "" for none'
    ] = ""  # fmt: skip
    neck_width: Annotated[int, COUNT, "width of the linear layer between backbone and head"] = 256
    dropout: Annotated[float, BELOW_ONE, "after the neck's BatchNorm"] = 0.5
    frozen_stages: Annotated[int, between(0, 4), "0 none, 1 stem and first stage, ..., 4 the whole backbone"] = 1
    backbone_norm: Annotated[str, one_of("stored", "batch"), "BatchNorm statistics in training"] = "stored"
    dtype: Annotated[
        str, one_of("float32", "bfloat16"), "compute type; parameters and losses stay float32"
    ] = "float32"  # fmt: skip
    fold_norm: Annotated[bool, SWITCH, "fold stored-statistics BatchNorm into its convolution"] = True
    pointwise_matmul: Annotated[bool, SWITCH, "1x1 convolutions as matrix products"] = True


class MethodFields(NamedTuple):
    """The method; the settings of each are in its own section."""

    name: Annotated[
        str, one_of(*METHODS, CUSTOM), "what learns from the labels (custom: the method given to `train`)"
    ] = "ndlp"  # fmt: skip


class OptimFields(NamedTuple):
    """Optimiser: gradients + weight decay, clipped, then SGD with momentum or Adam, times the scheduled rate."""

    name: Annotated[str, one_of("sgd", "adam"), "rule of the update"] = "sgd"
    learning_rate: Annotated[float, above(0), "rate after warm-up"] = 0.02
    schedule: Annotated[str, one_of("constant", "cosine", "step"), "the rate over the run, after warm-up"] = "constant"
    warmup_steps: Annotated[int, ANY_COUNT, "steps of linear warm-up"] = 0
    warmup_from: Annotated[float, SHARE, "share of the rate that warm-up starts from"] = 0.0
    cosine_end: Annotated[float, SHARE, "cosine: share of the rate at the end of the run", COSINE] = 0.0
    drop_epochs: Annotated[tuple[float, ...], EPOCHS, "step: epochs after which the rate drops", STEP] = ()
    drop_factor: Annotated[float, POSITIVE_SHARE, "step: factor of each drop"] = 0.1
    drop_every: Annotated[str, TEXT,
        "step: PATH=EPOCHS,...: there the rate drops as every EPOCHS-th epoch, from 1, begins, and only then", STEP
    ] = ""  # fmt: skip
    multipliers: Annotated[
        str, TEXT, "factors of the rate by parameter path, PATH=FACTOR,...; backbone=0.1 slows every backbone"
    ] = ""  # fmt: skip
    momentum: Annotated[float, BELOW_ONE, "sgd: heavy-ball momentum"] = 0.9
    betas: Annotated[tuple[float, float], Rule(lambda pair: len(pair) == 2 and all(0 <= b < 1 for b in pair),
        "two numbers in [0, 1)"), "adam: decay of the first and second moments"] = (0.9, 0.999)  # fmt: skip
    weight_decay: Annotated[float, at_least(0), "times the parameter, added to its gradient (coupled)"] = 1e-4
    clip_norm: Annotated[float, at_least(0), "largest norm of all gradients together; 0 for no clipping"] = 0.0
    ema: Annotated[float, BELOW_ONE, "decay of an average of the parameters, evaluated in their place; 0: none"] = 0.0


class TrainFields(NamedTuple):
    """The run."""

    epochs: Annotated[int, COUNT, "passes of the sampler; also the length of schedules"] = 10
    devices: Annotated[int, ANY_COUNT, "how many devices of each process to use; 0 for all", FREE] = 0
    one_jit: Annotated[bool, SWITCH, "compile all passes as one program (off: two; less memory at a time)"] = True
    checkpoint_every: Annotated[
        int, ANY_COUNT, "steps between checkpoints, beside those at epoch ends; 0 for none", FREE
    ] = 0  # fmt: skip
    max_skipped: Annotated[
        int, COUNT, "steps in a row whose loss is not finite, and which are not applied, until it stops", FREE
    ] = 5  # fmt: skip
    start_limit: Annotated[
        float, at_least(0), "seconds to the first step, and to one that is compiled later; 0 for no limit", FREE
    ] = 900.0  # fmt: skip
    step_limit: Annotated[
        float, at_least(0), "seconds between two signs of progress of a process after that; 0 for no limit", FREE
    ] = 300.0  # fmt: skip


class EvalFields(NamedTuple):
    """Evaluation."""

    batch_size: Annotated[int, COUNT, "images a step, rounded up to divide among the devices", FREE] = 100


ALL = {
    "data": DataFields,
    "jitter": JitterFields,
    "model": ModelFields,
    "method": MethodFields,
    **SECTIONS,
    "optim": OptimFields,
    "train": TrainFields,
    "eval": EvalFields,
}


def settings() -> dict[str, Setting]:
    """All fields by dotted name."""
    own = {f"{section}.{name}": one for section, fields in ALL.items() for name, one in declared(fields).items()}
    return {**declared(RunFields), **own}


def default_config() -> Config:
    """A config with every field at its default."""
    config = ConfigDict(RunFields()._asdict())
    for name, section in ALL.items():
        config[name] = ConfigDict(section()._asdict())
    return config


def fields(config: Config, prefix: str = "") -> dict[str, Any]:
    """All fields of a config by dotted name; a section without any is one itself."""
    out = {}
    for name, value in config.items():
        out |= (isinstance(value, ConfigDict) and fields(value, f"{prefix}{name}.")) or {f"{prefix}{name}": value}
    return out


def check_names(names: Iterable[str], config: Config) -> None:
    """Raise UserError for a dotted field name that the config does not have, with the nearest that it has."""
    valid = fields(config)
    for name in names:
        if name not in valid:
            raise UserError(f"There is no config field {name!r}; did you mean {nearest_field(name, valid)!r}?")


def nearest_field(name: str, valid: Iterable[str]) -> str:
    """The dotted name that one like it meant, or its last part alone (then the first one), its section, or `lr`."""
    paths = sorted(reversed([*valid]), key=lambda path: -path.count("."))
    meant = {path.rpartition(".")[2]: path for path in paths} | {"lr": "optim.learning_rate"}
    meant |= {path.removesuffix(".name"): path for path in paths} | {path: path for path in paths}
    return meant[nearest(name, meant)]


def validate(config: Config) -> None:
    """Raise UserError for the first value that cannot work; nothing has been compiled or written by then."""
    check_names(fields(config), default_config())
    check_values(config)
    check_together(config.data)
    try:
        build_method(config)
    except ValueError as error:  # what a method's settings ask of each other and of the run
        raise UserError(f"{error}.") from None
    name = config.method.name
    if name in METHODS and METHODS[name].second_stage and not config.model.start_from:
        raise UserError(f"config.method.name is {name!r}; name the run it works on in config.model.start_from.")


def check_values(config: Config) -> None:
    """Raise UserError for the first declared field that is missing, of another type, or outside its rule."""
    values = fields(config)
    for name, setting in settings().items():
        _check(name, values, setting)


def build_method(config: Config) -> Method | None:
    """The Method that config.method.name chooses; None for a custom one. Raises ValueError as the methods do."""
    if config.method.name == CUSTOM:
        return None
    entry = METHODS[config.method.name]
    sections = (kind(**config[name]) for name, kind in entry.sections.items())
    return entry.make(*sections, Plan(config.train.epochs, config.data.batch_size))


def _check(name: str, values: dict[str, Any], setting: Setting) -> None:
    if name not in values:
        raise UserError(f"The config has no field {name!r}; start it from ltpml_jax.default_config().")
    value = values[name]
    if not _alike(value, setting.default):
        kind = "tuple of numbers" if isinstance(setting.default, tuple) else type(setting.default).__name__
        raise UserError(f"config.{name} is {value!r}; it must be of type {kind}, {setting.rule.wanted}.")
    if not setting.rule.holds(value):  # a NaN fails every comparison, so it ends here too
        choices = setting.rule.choices
        close = f" (nearest: {nearest(str(value), choices)})" if choices else ""
        raise UserError(f"config.{name} is {value!r}; it must be {setting.rule.wanted}{close}.")


def _alike(value: Any, example: Any) -> bool:
    if isinstance(example, tuple):  # JSON gives it back as a list
        return isinstance(value, list | tuple) and all(_alike(number, 0.0) for number in value)
    if isinstance(example, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(example)
