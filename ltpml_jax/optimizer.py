"""The optimiser of the config: weight decay, clipping, SGD or Adam, factors by parameter path, the scheduled rate."""

from typing import Any

import jax
import optax

from ltpml_jax.errors import UserError
from ltpml_jax.methods.settings import Config


def build_optimizer(config: Config, steps_per_epoch: int) -> optax.GradientTransformation:
    """Gradients + weight decay (coupled, as torch's `weight_decay`), clipped, then the rule, times the rate.

    The rate counts applied steps. Raises UserError for multipliers that cannot be read.
    """
    optim = config.optim
    rules = {"sgd": lambda: optax.trace(optim.momentum), "adam": lambda: optax.scale_by_adam(*optim.betas)}
    parts = [optax.add_decayed_weights(optim.weight_decay)]
    parts += [optax.clip_by_global_norm(optim.clip_norm)] if optim.clip_norm else []
    parts += [rules[optim.name]()]
    parts += [_scale_by_path(multipliers(optim.multipliers))] if optim.multipliers else []
    return optax.chain(*parts, optax.scale_by_learning_rate(rate_schedule(config, steps_per_epoch)))


def rate_schedule(config: Config, steps_per_epoch: int) -> Any:
    """The learning rate by step: linear warm-up, then constant, cosine to the run's end, or drops after epochs.

    Drops stand at whole steps of the run, warm-up included; the cosine begins where warm-up ends.
    """
    optim, total = config.optim, config.train.epochs * steps_per_epoch
    rate, warm = optim.learning_rate, optim.warmup_steps
    drops = {int(epoch * steps_per_epoch) - warm: optim.drop_factor for epoch in optim.drop_epochs}
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
    found = {}
    for part in text.split(",") if text else ():
        path, _, factor = part.partition("=")
        try:
            found[path.strip()] = float(factor)
        except ValueError:
            factor = ""
        if not path.strip() or not factor or not 0 <= found[path.strip()] < float("inf"):
            raise UserError(
                f"config.optim.multipliers has {part!r}; write PATH=FACTOR with a factor of 0 or more, as in "
                "backbone=0.1,head=10."
            )
    return found


def check_multipliers(text: str, params: Any) -> None:
    """Raise UserError for a path of the multipliers that no parameter has; params: a pytree of shapes or arrays."""
    names = [path_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    for path in multipliers(text):
        if not any(_within(path, name) for name in names):
            first = ", ".join(sorted({name.partition(".")[0] for name in names}))
            raise UserError(
                f"config.optim.multipliers names {path!r}, which is in no parameter's path; paths begin with {first}."
            )


def path_name(path: Any) -> str:
    """The dotted name of a leaf's key path."""
    return ".".join(str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path)


def _within(path: str, name: str) -> bool:
    return f".{path}." in f".{name}."


def _scale_by_path(factors: dict[str, float]) -> optax.GradientTransformation:
    """Multiply the update of every parameter by the factor of the last path that it lies in."""

    def scale(path: Any, update: jax.Array) -> jax.Array:
        return update * next((f for part, f in reversed(factors.items()) if _within(part, path_name(path))), 1.0)

    return optax.stateless(lambda updates, params: jax.tree_util.tree_map_with_path(scale, updates))
