"""From a config to everything a run works with: data, network, method, state layout; and its checkpoints, opened."""

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from jax.sharding import Mesh

from ltpml_jax import photometric
from ltpml_jax.config import CUSTOM, build_method, validate
from ltpml_jax.data.task import Task, make_task
from ltpml_jax.errors import UserError
from ltpml_jax.methods.base import Blocks, Method
from ltpml_jax.methods.priors import Prior
from ltpml_jax.methods.settings import Config
from ltpml_jax.models import classifier
from ltpml_jax.models.pretrained import load_backbone
from ltpml_jax.optimizer import build_optimizer, check_paths
from ltpml_jax.runtime import checkpoints, processes, watchdog
from ltpml_jax.runtime.method_forms import check_method, check_outputs
from ltpml_jax.state import (
    ROW_MULTIPLE,
    TrainState,
    batch_sharding,
    evaluated,
    init_state,
    make_mesh,
    padded,
    state_shardings,
)
from ltpml_jax.step import Predict, Recipe, Step, jit_predict, jit_step, make_stages
from ltpml_jax.workdir import check_checkpoint, saved_config

log = logging.getLogger(__name__)
# What a network is built with: the weights that the config names (random, where it names none), random ones, or shapes
# in place of arrays, where a checkpoint will be read.
Weights = Literal["named", "random", "none"]
SHIPPED = {"digits_small": Path(__file__).parent / "models" / "digits_small.safetensors"}


class Experiment(NamedTuple):
    """What stays the same over a run; the state is passed beside it."""

    config: Config
    workdir: Path
    task: Task
    method: Method
    parts: classifier.Parts
    mesh: Mesh
    predict: Predict
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
    if ROW_MULTIPLE % count:  # the tables would be padded to another shape, and checkpoints would depend on it
        raise UserError(f"{count} devices cannot share the run; set config.train.devices to 1, 2, 4, 8, ...")
    if config.data.batch_size % count:
        raise UserError(
            f"config.data.batch_size is {config.data.batch_size} and does not divide among {count} devices; change it, "
            "or set config.train.devices."
        )
    return chosen


def build_experiment(
    config: Config, workdir: Path, mesh: Mesh, weights: Weights, method: Method | None = None
) -> Experiment:
    """Load the data and build the network.

    Raises UserError where the config names a method that only `ltpml_jax.train` was given, and what the parts raise.
    """
    return assemble(config, make_task(config), workdir, mesh, weights, method)


def assemble(
    config: Config, task: Task, workdir: Path, mesh: Mesh, weights: Weights, method: Method | None = None
) -> Experiment:
    """The same, of a task that was made before."""
    method = method or build_method(config)
    if method is None:
        raise UserError(
            f"config.method.name is {CUSTOM!r}: the method is not in this package; hand it to ltpml_jax.train or "
            "ltpml_jax.open_run as method=."
        )
    check_method(method)
    parts = build_network(config, method, len(task.dataset.class_names), task.prior, weights)
    check_paths(config, parts.trainable)
    size, classes = task.served.shape
    labels = jax.ShapeDtypeStruct((padded(size), classes), jnp.int8)
    shapes = jax.eval_shape(lambda parts, table: _init(config, task, method, parts, table), parts, labels)
    predict = jit_predict(classifier.make_forward(parts.graphdef), method, mesh)
    if config.method.name == CUSTOM:  # tests hold those of the package to that
        check_outputs(method, predict, shapes, config.data.batch_size, config.data.image_size, classes)
    return Experiment(config, workdir, task, method, parts, mesh, predict, shapes, state_shardings(shapes, mesh))


def build_network(
    config: Config, method: Method, classes: int, prior: Prior, weights: Weights = "named"
) -> classifier.Parts:
    """The method's network as a graph and two pytrees.

    Raises UserError where the weights that the config names cannot be read or are those of another network, and where
    the method's network has no classifier that could start from the run that the config names.
    """
    make = classifier_maker(config, classes, weights)
    wanted, started = config.model.start_from if weights == "named" else "", []

    def whole(number: int) -> classifier.Classifier:
        started.append(bool(wanted) and number == 0)
        return make(number, started[-1])

    blocks = Blocks(
        classifier=whole,
        backbone=lambda number: make(number, False).backbone,
        pair=lambda: classifier.Pair(whole(0), whole(1)),
        classes=classes,
        seed=config.seed,
        prior=prior,
    )
    network = nnx.eval_shape(lambda: method.network(blocks)) if weights == "none" else method.network(blocks)
    if wanted and not any(started):
        raise UserError(
            f"config.model.start_from is {wanted!r}, but the network of config.method.name={config.method.name} has no "
            "classifier that could start from a run; leave it out."
        )
    return classifier.split(network, config.model.frozen_stages)


def classifier_maker(config: Config, classes: int, weights: Weights) -> Callable[[int, bool], classifier.Classifier]:
    """(number, from_run) -> a classifier of the model section: from the run that it names, or with its backbone."""
    model = {name: value for name, value in config.model.items() if name not in ("pretrained", "start_from")}
    spec, name = classifier.ModelSpec(**model), config.model.pretrained if weights == "named" else ""
    source: str | Path = SHIPPED.get(name) or name

    def make(number: int, from_run: bool) -> classifier.Classifier:
        made = classifier.build(spec, classes, config.seed, number, draw_backbone=from_run or not name)
        if from_run:
            start_from(config, made)
        elif name:
            log.info("Backbone weights %s, sha256 %s", source, load_backbone(made, source))
        return made

    return make


def start_from(config: Config, made: classifier.Classifier) -> None:
    """Put the weights and statistics of the run in config.model.start_from into a classifier, in place.

    Of its newest checkpoint, averaged where it keeps an average. Raises UserError where there is none, or where its
    network is not such a classifier.
    """
    workdir = Path(config.model.start_from)
    saved = saved_config(workdir)
    saved.data.dir = config.data.dir
    validate(saved)
    run = build_experiment(saved, workdir, make_mesh(choose_devices(config)), "none")
    with checkpoints.open_manager(workdir, read_only=True) as manager:
        step = checkpoints.newest(manager)
        state = open_checkpoint(run, manager, step).state
    weights = nnx.state(nnx.merge(run.parts.graphdef, evaluated(state), state.rest))
    shapes = (jax.tree.map(jnp.shape, nnx.to_pure_dict(tree)) for tree in (weights, nnx.state(made)))
    if len({str(tree) for tree in shapes}) > 1:
        raise UserError(
            f"The network of the run in {workdir} is another one than config.model and the classes make; give its "
            "model fields, and a run of one classifier on as many classes."
        )
    nnx.update(made, jax.device_get(weights))
    log.info("Weights of %s, step %d", workdir, step)


def fresh_state(run: Experiment) -> TrainState:
    """The state that training begins with, laid out over the devices."""
    served = run.task.served
    shape = (padded(len(served)), served.shape[1])

    def shard(index: Any) -> np.ndarray:
        start, stop, _ = index[0].indices(shape[0])
        return served.stretch(start, stop)

    labels = jax.make_array_from_callback(shape, batch_sharding(run.mesh), shard)
    make = jax.jit(
        lambda parts, table: _init(run.config, run.task, run.method, parts, table), out_shardings=run.shardings
    )
    return make(run.parts, labels)


def identity(run: Experiment) -> dict[str, Any]:
    """What a checkpoint is recognised by."""
    return {"candidates": run.task.digest, "config": run.config.to_json(sort_keys=True)}


def open_checkpoint(run: Experiment, manager: ocp.CheckpointManager, step: int) -> checkpoints.Restored:
    """Restore a checkpoint onto the run's devices; UserError for damage, other data or another config."""
    place = f"{manager.directory}/{step}"

    def check(found: checkpoints.Identity) -> None:
        check_checkpoint(found["config"], run.config, place)
        if found["candidates"] != run.task.digest:
            raise UserError(
                f"The candidate sets of {place} are not those of the dataset as it is now "
                f"(sha256 {found['candidates'][:12]}, now {run.task.digest[:12]}); "
                "restore the dataset, or start in another --workdir."
            )

    return checkpoints.restore(manager, step, run.shapes, run.shardings, check)


def open_newest(run: Experiment, manager: ocp.CheckpointManager) -> checkpoints.Restored:
    """Restore the newest checkpoint that can be read; damaged newer ones are set aside, with a warning.

    Raises UserError where none can be read, and that of a checkpoint of other data or another config.
    """
    damaged: dict[int, str] = {}
    for step in sorted(manager.all_steps(), reverse=True):
        restored, what = None, ""
        try:
            restored = open_checkpoint(run, manager, step)
        except checkpoints.DamagedError as error:
            what = error.what
        damage = next(filter(None, processes.exchange(what)), "")  # another process may have met the damage
        if damage or restored is None:
            damaged[step] = damage
            continue
        for bad, what in damaged.items():
            log.warning("WARNING: %s It is now %s.", what, checkpoints.set_aside(manager, bad))
        return restored
    raise checkpoints.DamagedError(next(iter(damaged.values())), f"remove {manager.directory} to train from the start")


def augment_on_device(config: Config) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The device part of the augmentation: (key, images uint8 [B, H, W, 3]) -> distorted and normalised float32."""
    jitter = photometric.JitterSpec(**config.jitter)
    return lambda key, images: photometric.normalise(photometric.distort(key, images.astype(jnp.float32), jitter))


def steps_by_epoch(run: Experiment) -> Callable[[int], Step]:
    """Epoch (from 0) -> its jitted step; epochs with the same passes share one."""
    begins = sorted({stage.from_epoch for stage in run.method.passes})

    @functools.cache
    def made(begin: int) -> Step:
        watchdog.compiling()
        log.info("Compiling the step%s", f" as it is from epoch {begin + 1} on" if begin else "")
        return compile_step(run, begin)

    return lambda epoch: made(max(begin for begin in begins if begin <= epoch))


def compile_step(run: Experiment, epoch: int | None = None) -> Step:
    """The jitted training step of an epoch, or None: one that is right for every epoch."""
    config = run.config
    recipe = Recipe(
        forward=classifier.make_forward(run.parts.graphdef),
        optimizer=build_optimizer(config, run.task.steps_per_epoch),
        prepare=augment_on_device(config),
        steps_per_epoch=run.task.steps_per_epoch,
        ema=config.optim.ema,
    )
    return jit_step(make_stages(run.method, recipe, epoch), run.mesh, run.shapes, config.train.one_jit)


def _init(config: Config, task: Task, method: Method, parts: Any, states: jax.Array) -> TrainState:
    optimizer = build_optimizer(config, task.steps_per_epoch)
    return init_state(
        parts.trainable, parts.rest, optimizer, method, states, task.prior, config.seed, bool(config.optim.ema)
    )
