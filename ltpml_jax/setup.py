"""From a config to everything a run works with: data, network, method, state layout."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from ltpml_jax import checkpoints, evaluation, methods, network
from ltpml_jax.config import differences, from_json
from ltpml_jax.data.setting import Setting, make_setting
from ltpml_jax.errors import UserError
from ltpml_jax.models import classifier
from ltpml_jax.runtime import processes
from ltpml_jax.state import ROW_MULTIPLE, TrainState, batch_sharding, init_state, padded, state_shardings
from ltpml_jax.step import Step, jit_step, make_stages
from ltpml_jax.types import Config

log = logging.getLogger(__name__)


class Run(NamedTuple):
    """What stays the same over a run; the state is passed beside it."""

    config: Config
    workdir: Path
    setting: Setting
    method: methods.Method
    parts: classifier.Parts
    mesh: Mesh
    predict: evaluation.Predict
    shapes: TrainState  # of ShapeDtypeStructs
    shardings: TrainState


def choose_devices(config: Config) -> list[Any]:
    """The devices to use, process by process; UserError where there are too few or the batch does not divide."""
    wanted = config.train.devices
    by_process = [
        sorted(jax.local_devices(process), key=lambda device: device.id) for process in range(jax.process_count())
    ]
    fewest = min(map(len, by_process))
    if wanted > fewest:
        raise UserError(f"config.train.devices is {wanted}, but this machine has {fewest}; lower it.")
    chosen = [device for devices in by_process for device in devices[: wanted or None]]
    count = len(chosen)
    if ROW_MULTIPLE % count:  # the tables would be padded to another shape, and checkpoints would hang on it
        raise UserError(f"{count} devices cannot share the run; set config.train.devices to 1, 2, 4, 8, ...")
    if config.data.batch_size % count:
        raise UserError(
            f"config.data.batch_size is {config.data.batch_size} and does not divide among {count} devices; change it, "
            "or set config.train.devices."
        )
    return chosen


def prepare(config: Config, workdir: Path, mesh: Mesh, pretrained: bool) -> Run:
    """Load the data and build the network (with its pretrained weights, where they are wanted)."""
    return assemble(config, make_setting(config), workdir, mesh, pretrained)


def assemble(config: Config, setting: Setting, workdir: Path, mesh: Mesh, pretrained: bool) -> Run:
    """The same, of a setting that is there."""
    method = methods.build(config)
    parts = network.build(config, len(setting.dataset.class_names), pretrained)
    size, classes = setting.served.shape
    labels = jax.ShapeDtypeStruct((padded(size), classes), jnp.int8)
    shapes = jax.eval_shape(lambda table: _init(config, setting, method, parts, table), labels)
    shardings = state_shardings(shapes, method, mesh)
    predict = evaluation.make_predict(classifier.make_forward(parts.graphdef), mesh)
    return Run(config, workdir, setting, method, parts, mesh, predict, shapes, shardings)


def fresh_state(this: Run) -> TrainState:
    """The state that training begins with, laid out over the devices."""
    served = this.setting.served
    shape = (padded(len(served)), served.shape[1])

    def shard(index: Any) -> np.ndarray:
        start, stop, _ = index[0].indices(shape[0])
        return served.stretch(start, stop)

    labels = jax.make_array_from_callback(shape, batch_sharding(this.mesh), shard)
    make = jax.jit(
        lambda parts, table: _init(this.config, this.setting, this.method, parts, table), out_shardings=this.shardings
    )
    return make(this.parts, labels)


def facts(this: Run) -> dict[str, Any]:
    """What a checkpoint is recognised by."""
    return {"candidates": this.setting.digest, "config": this.config.to_json(sort_keys=True)}


def open_checkpoint(this: Run, manager: ocp.CheckpointManager, step: int) -> checkpoints.Restored:
    """Restore a checkpoint onto the run's devices; UserError for damage, other data or another config."""
    restored = checkpoints.restore(manager, step, this.shapes, this.shardings)
    drawn = restored.facts["candidates"]
    if drawn != this.setting.digest:
        raise UserError(
            f"The candidate sets of {manager.directory}/{step} are not those of the dataset as it is now "
            f"(sha256 {drawn[:12]}, now {this.setting.digest[:12]}); "
            "restore the dataset, or start in another --workdir."
        )
    changed = differences(from_json(restored.facts["config"]), this.config)
    if changed:
        raise UserError(
            f"The checkpoint {manager.directory}/{step} is of another run ({'; '.join(changed)}); remove that folder."
        )
    return restored


def open_newest(this: Run, manager: ocp.CheckpointManager) -> checkpoints.Restored:
    """Restore the newest checkpoint that can be read; damaged newer ones are set aside, and the log says so.

    Raises the newest one's UserError where none can be read, and that of a checkpoint of other data or another config.
    """
    damaged: dict[int, str] = {}
    for step in sorted(manager.all_steps(), reverse=True):
        restored, what = None, ""
        try:
            restored = open_checkpoint(this, manager, step)
        except checkpoints.DamagedError as error:
            what = error.what
        told = next(filter(None, processes.exchange(what)), "")  # another process may have met the damage
        if told or restored is None:
            damaged[step] = told
            continue
        for bad, what in damaged.items():
            log.warning("WARNING: %s It is now %s.", what, checkpoints.set_aside(manager, bad))
        return restored
    raise checkpoints.DamagedError(next(iter(damaged.values())))


def compile_step(this: Run) -> Step:
    """The jitted training step."""
    stages = make_stages(
        this.method,
        classifier.make_forward(this.parts.graphdef),
        network.build_optimizer(this.config),
        network.build_prepare(this.config),
        this.setting.steps_per_epoch,
    )
    return jit_step(stages, this.method, this.mesh, this.shapes, this.config.train.one_jit)


def _init(config: Config, setting: Setting, method: methods.Method, parts: Any, labels: jax.Array) -> TrainState:
    optimizer = network.build_optimizer(config)
    return init_state(parts.trainable, parts.rest, optimizer, method, labels, setting.prior, config.seed)
