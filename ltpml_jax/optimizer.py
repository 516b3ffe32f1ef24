"""The optimiser of the config: weight decay, clipping, SGD or Adam, factors by parameter path, the scheduled rate."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import optax

from ltpml_jax.errors import UserError
from ltpml_jax.methods.settings import Config


def build_optimizer(config: Config, steps_per_epoch: int) -> optax.GradientTransformation:
    """Gradients + weight decay (coupled, as torch's `weight_decay`), clipped, then the rule, times the rate.

    The rate counts applied steps. Raises UserError for multipliers and drop_every that cannot be read.
    """
    optim = config.optim
    rules = {"sgd": lambda: optax.trace(optim.momentum), "adam": lambda: optax.scale_by_adam(*optim.betas)}
    parts = [optax.add_decayed_weights(optim.weight_decay)]
    parts += [optax.clip_by_global_norm(optim.clip_norm)] if optim.clip_norm else []
    parts += [rules[optim.name]()]
    parts += [_scale_by_path(multipliers(optim.multipliers))] if optim.multipliers else []
    return optax.chain(*parts, _scale_by_rate(config, steps_per_epoch))


def rate_schedule(config: Config, steps_per_epoch: int, drop_epochs: Iterable[float] | None = None) -> Any:
    """The learning rate by step: linear warm-up, then constant, cosine to the run's end, or drops after epochs.

    Drops stand at whole steps of the run, warm-up included; the cosine begins where warm-up ends. drop_epochs: in
    place of the config's.
    """
    optim, total = config.optim, config.train.epochs * steps_per_epoch
    rate, warm = optim.learning_rate, optim.warmup_steps
    after_epochs = optim.drop_epochs if drop_epochs is None else drop_epochs
    drops = {min(int(epoch * steps_per_epoch), 2**31 - 1) - warm: optim.drop_factor for epoch in after_epochs}
    after = {
        "constant": lambda: optax.constant_schedule(rate),
        "cosine": lambda: optax.cosine_decay_schedule(rate, max(total - warm, 1), optim.cosine_end),
        "step": lambda: optax.piecewise_constant_schedule(rate, drops),
    }[optim.schedule]()
    if not warm:
        return rate if optim.schedule == "constant" else after
    return optax.join_schedules([optax.linear_schedule(rate * optim.warmup_from, rate, warm), after], [warm])


def multipliers(text: str) -> dict[str, float]:
    """Factors by path of `PATH=FACTOR,PATH=FACTOR`; UserError for anything else."""
    wanted = "PATH=FACTOR with a factor of 0 or more, as in backbone=0.1,head=10."
    return _by_path(text, "multipliers", wanted, lambda factor: factor >= 0)


def drop_periods(config: Config) -> dict[str, float]:
    """Epochs between drops by path, of optim.drop_every; UserError for anything else."""
    wanted = "PATH=EPOCHS with a whole number of epochs, 1 or more, as in head=12,attention=18."
    text = config.optim.drop_every
    return _by_path(text, "drop_every", wanted, lambda epochs: epochs >= 1 and epochs == int(epochs))


def check_texts(config: Config) -> None:
    """Raise UserError for multipliers and drops that cannot be read, before there are parameters."""
    multipliers(config.optim.multipliers)
    drop_periods(config)


def check_paths(config: Config, params: Any) -> None:
    """Raise UserError for a path of multipliers or drop_every that no parameter (arrays or shapes) has."""
    names = [path_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    for field, found in (("multipliers", multipliers(config.optim.multipliers)), ("drop_every", drop_periods(config))):
        for path in found:
            if not any(_within(path, name) for name in names):
                first = ", ".join(sorted({name.partition(".")[0] for name in names}))
                raise UserError(
                    f"config.optim.{field} names {path!r}, which is in no parameter's path; paths begin with {first}."
                )


def path_name(path: Any) -> str:
    """The dotted name of a leaf's key path."""
    return ".".join(str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path)


def _within(path: str, name: str) -> bool:
    return f".{path}." in f".{name}."


def _by_path(text: str, field: str, wanted: str, holds: Callable[[float], bool]) -> dict[str, float]:
    found = {}
    for part in text.split(",") if text else ():
        path, _, number = part.partition("=")
        if path.strip() in found:
            raise UserError(f"config.optim.{field} names {path.strip()!r} twice; name it once.")
        try:
            found[path.strip()] = float(number)
        except ValueError:
            number = ""
        value = found.get(path.strip(), math.inf)
        if not path.strip() or not number or not math.isfinite(value) or not holds(value):
            raise UserError(f"config.optim.{field} has {part!r}; write {wanted}")
    return found


def _last(values: dict[str, Any], path: Any, otherwise: Any) -> Any:
    """The value of the last path that a parameter lies in."""
    name = path_name(path)
    return next((value for part, value in reversed(values.items()) if _within(part, name)), otherwise)


def _scale_by_path(factors: dict[str, float]) -> optax.GradientTransformation:
    """Multiply the update of every parameter by the factor of the last path that it lies in."""

    def scale(path: Any, update: jax.Array) -> jax.Array:
        return update * _last(factors, path, 1.0)

    return optax.stateless(lambda updates, params: jax.tree_util.tree_map_with_path(scale, updates))


def _scale_by_rate(config: Config, steps_per_epoch: int) -> optax.GradientTransformation:
    """Minus the rate of the config, with drops of their own in the paths that optim.drop_every names.

    There the factor of epoch e, counted from 1, is drop_factor^floor(e / EPOCHS), as of torch's StepLR when it is
    called where an epoch begins: the first drop stands after EPOCHS - 1 epochs.
    """
    periods, rest = drop_periods(config), optax.scale_by_learning_rate(rate_schedule(config, steps_per_epoch))
    if not periods:
        return rest
    labels = {path: f"path{number}" for number, path in enumerate(periods)}
    rules: dict[Any, optax.GradientTransformation] = {"rest": rest}
    for path, period in periods.items():
        drops = range(int(period) - 1, config.train.epochs, int(period))
        rules[labels[path]] = optax.scale_by_learning_rate(rate_schedule(config, steps_per_epoch, drops))
    return optax.partition(
        rules, lambda params: jax.tree_util.tree_map_with_path(lambda path, _: _last(labels, path, "rest"), params)
    )
