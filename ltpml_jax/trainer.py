"""A training run: from a config to a table, resuming from the newest checkpoint where there is one."""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from clu import parameter_overview
from flax import nnx

from ltpml_jax.config import CUSTOM, fields, settings, validate
from ltpml_jax.data import datasets, loader
from ltpml_jax.data.digits_mlt import EMBEDDED
from ltpml_jax.data.feed import AHEAD
from ltpml_jax.data.field_rules import check_used
from ltpml_jax.data.task import origin
from ltpml_jax.errors import SharedError, UserError
from ltpml_jax.evaluation import model_file
from ltpml_jax.evaluation.metrics import Scores
from ltpml_jax.evaluation.outcome import conclude
from ltpml_jax.experiment import (
    SHIPPED,
    Experiment,
    build_experiment,
    choose_devices,
    fresh_state,
    identity,
    open_newest,
    steps_by_epoch,
)
from ltpml_jax.methods.base import Method
from ltpml_jax.methods.settings import Config
from ltpml_jax.models.pretrained import check_weights
from ltpml_jax.models.resnet import ARCHITECTURES
from ltpml_jax.optimizer import check_texts
from ltpml_jax.runtime import checkpoints, metrics_log, preemption, processes, startup, watchdog
from ltpml_jax.runtime.files import sole_run, write_atomic, writing
from ltpml_jax.runtime.metrics_log import MetricsLog
from ltpml_jax.runtime.progress import Progress
from ltpml_jax.state import TrainState, make_mesh
from ltpml_jax.step_log import Steps, write_epoch
from ltpml_jax.workdir import as_path, check_shared, check_workdir, claim, saved_config

FROM_SCRATCH = (
    "WARNING: this backbone starts from random weights, on photographs; the recipe expects pretrained ones "
    "(--config.model.pretrained=hf:timm/resnet50.tv_in1k, or the path of a file). Without them, frozen stages stay "
    "random (config.model.frozen_stages is %d) and stored statistics mean nothing (config.model.backbone_norm is %r)."
)
SMALL = "WARNING: images of %d pixels a side are smaller than the stride of %s, %d; raise config.data.image_size."
PARAMETERS = "parameters.txt"
log = logging.getLogger(__name__)


def train(config: Config, workdir: str | Path, method: Method | None = None) -> dict[str, Scores]:
    """Train (or resume), evaluate on the test split, print and save the table; returns the table's scores.

    Args:
        config: as `ltpml_jax.default_config` makes it; it is not changed.
        workdir: where everything of the run is written; the same call again resumes it.
        method: a Method of one's own, in place of the one that config.method.name chooses.

    Where the run has several processes, all call it alike. Raises UserError for what the user can fix (a wrong field, a
    foreign directory, a loss that is not finite, ...; lost lines of metrics.jsonl after the end), and PreemptedError
    where SIGTERM stopped it; the same call resumes it then.
    """
    workdir = as_path(workdir)
    if method is not None:
        config = config.copy_and_resolve_references()
        config.method.name = CUSTOM
    processes.local_devices()
    run = processes.together(lambda: _prepare(config, workdir, method))
    same_everywhere(run)
    with contextlib.ExitStack() as stack, preemption.watched(), enough_memory():
        processes.together(lambda: stack.enter_context(sole_run(workdir)) if processes.is_first() else None)
        processes.together(lambda: check_shared(workdir))
        with checkpoints.open_manager(workdir) as manager:
            state, iterator = resume(run, manager)
            processes.together(lambda: claim(config, workdir) if processes.is_first() else None)
            announce(run)
            take_steps(run, manager, state, iterator)
            iterator.close()
            scores = conclude(run, manager)
    processes.together(lambda: check_records(run) if processes.is_first() else None)
    return scores


@contextlib.contextmanager
def enough_memory() -> Iterator[None]:
    """A block in which a device that has too little memory is a UserError; what was saved stays."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        if "RESOURCE_EXHAUSTED" not in reason:
            raise
        raise UserError(
            f"A device has too little memory ({reason}). Lower config.data.batch_size, config.data.image_size or "
            "config.eval.batch_size, or set config.model.dtype to bfloat16, or config.train.one_jit to False."
        ) from None


def check_records(run: Experiment) -> None:
    """Raise UserError where metrics.jsonl lacks records of the finished run; nothing of its results depends on them."""
    per_epoch = run.task.steps_per_epoch
    metrics_log.check_whole(run.workdir, run.config.train.epochs * per_epoch, per_epoch)


def check_before_data(config: Config) -> None:
    """Raise UserError for fields of the config that its others do not use, and for texts and files that are wrong.

    So that data and network are not made for them, nor weights downloaded for a dataset that is not there.
    """
    check_used(config, settings())
    check_texts(config)
    datasets.check_there(config.data.name, config.data.dir)
    if config.model.pretrained:
        weights: str = config.model.pretrained
        check_weights(SHIPPED.get(weights) or weights, config.model.backbone)
    if config.model.start_from:
        saved_config(Path(config.model.start_from))


def _prepare(config: Config, workdir: Path, method: Method | None) -> Experiment:
    validate(config)
    processes.check_joined()
    mesh = make_mesh(choose_devices(config))
    check_workdir(config, workdir)
    check_before_data(config)
    run = build_experiment(config, workdir, mesh, "named", method=method)
    watchdog.beat("loading data and network")
    return run


def same_everywhere(run: Experiment) -> None:
    """Raise UserError in all processes where two of them have other configs or candidate sets.

    Only where the dataset lies may differ, as a host may have a copy of its own.
    """
    config = {name: value for name, value in fields(run.config).items() if name != "data.dir"}
    texts = processes.exchange(f"{run.task.digest} {sorted(config.items())}")
    others = [number for number, text in enumerate(texts) if text != texts[0]]
    if others:
        raise SharedError(
            f"Process {others[0]} has another config or other data than process 0; start all with the same command."
        )


def resume(run: Experiment, manager: ocp.CheckpointManager) -> tuple[TrainState, Any]:
    """State and iterator of the newest checkpoint that can be read, or fresh ones where there is none at all."""
    iterator = loader.train_iterator(run.config, run.task, run.mesh)
    for step, place in checkpoints.clear_unfinished(manager).items():
        log.warning("WARNING: The checkpoint of step %d was not saved to its end. It is now %s.", step, place)
    if manager.latest_step() is None:
        return fresh_state(run), iterator
    restored = open_newest(run, manager)
    iterator.set_state(restored.iterator)
    log.info("Resuming from step %d", int(restored.state.step))
    return restored.state, iterator


def announce(run: Experiment) -> None:
    """Log what the run is: method, data, devices, and where the results will lie; parameters and model go to files."""
    config, task, mesh = run.config, run.task, run.mesh
    hosts = len({device.process_index for device in mesh.devices.flat})
    among = f" of {hosts} processes" if hosts > 1 else ""
    log.info(
        "%s on %s: %d training images (%d held out), %d classes, %d epochs of %d steps",
        config.method.name, task.dataset.name, len(task.train), len(task.validation), task.served.shape[1],
        config.train.epochs, task.steps_per_epoch,
    )  # fmt: skip
    log.info("Candidate sets: %s, sha256 %s", origin(config), task.digest)
    counts = ", ".join(f"{count:.0f}" for count in np.asarray(task.prior.class_count))
    log.info("Class counts (%s): %s; flip rate %.3f", config.data.priors, counts, float(task.prior.flip_rate))
    if not (config.model.pretrained or config.model.start_from) and task.dataset.name not in EMBEDDED:
        log.warning(FROM_SCRATCH, config.model.frozen_stages, config.model.backbone_norm)
    stride = ARCHITECTURES[config.model.backbone].stride
    if config.data.image_size < stride:
        log.warning(SMALL, config.data.image_size, config.model.backbone, stride)
    trained = nnx.to_pure_dict(run.parts.trainable)
    count = sum(leaf.size for leaf in jax.tree.leaves(trained))
    log.info("%d device(s)%s: %s; %d parameters train", mesh.size, among, mesh.devices.flat[0].device_kind, count)
    if processes.is_first():
        overview = parameter_overview.get_parameter_overview(trained, include_stats=False)
        with writing(run.workdir / PARAMETERS):
            write_atomic(run.workdir / PARAMETERS, f"{overview}\n")
    processes.together(lambda: model_file.save(run) if processes.is_first() else None)
    log.info("Metrics, checkpoints and results go to %s", run.workdir)


def take_steps(run: Experiment, manager: ocp.CheckpointManager, state: TrainState, iterator: Any) -> None:
    """Take all steps that are left.

    Raises PreemptedError where SIGTERM comes, after the state is saved.
    """
    step, per_epoch = int(state.step), run.task.steps_per_epoch
    with contextlib.closing(MetricsLog(run.workdir, step, writes=processes.is_first())) as records:
        sentence = metrics_log.lost(run.workdir, step, per_epoch) if processes.is_first() else ""
        if sentence:
            log.warning("WARNING: %s", sentence)
        if step and step % per_epoch == 0 and unsummed(records, step):  # SIGTERM came in its validation
            manager.delete(step)
            end_epoch(run, manager, records, state, iterator)
        if step < run.config.train.epochs * per_epoch:
            loop(run, manager, records, state, iterator)
        else:
            watchdog.started()


def loop(
    run: Experiment, manager: ocp.CheckpointManager, records: MetricsLog, state: TrainState, iterator: Any
) -> None:
    """From the state to the end of the run. Within an epoch the host only waits for steps that are AHEAD back."""
    config, per_epoch = run.config, run.task.steps_per_epoch
    step, total = int(state.step), config.train.epochs * per_epoch
    progress = Progress(total, config.data.batch_size, sys.stderr if processes.is_first() else io.StringIO())
    feed = loader.train_feed(config, run.task, run.mesh, iterator)
    step_of, steps = steps_by_epoch(run), Steps(run, records, feed, progress)
    with contextlib.closing(progress):
        while step < total:
            batch, broadcasts = next(feed)
            watchdog.beat(f"batch {step + 1} read")
            state, metrics = step_of(step // per_epoch)(state, batch)
            step += 1
            steps.add(step, metrics, broadcasts)
            steps.collect(AHEAD, state)
            if step > AHEAD:  # the first step is through, and the devices work on others
                startup.collect_garbage()
            every, at_end = config.train.checkpoint_every, step % per_epoch == 0
            if steps.stop or at_end or (every and step % every == 0):
                steps.collect(0, state)
                steps.write()
                if at_end:
                    end_epoch(run, manager, records, state, iterator)
                else:
                    checkpoints.save(manager, state, iterator.get_state(), identity(run), None)
                records.scalar("images_per_second", progress.speed(step), step)
            if steps.stop:
                raise preemption.PreemptedError


def unsummed(records: MetricsLog, step: int) -> bool:
    """Whether the summary of the epoch that ends with `step` is missing."""
    return processes.from_first(lambda: "" if records.has_epoch(step) else "missing") == "missing"


def end_epoch(
    run: Experiment, manager: ocp.CheckpointManager, records: MetricsLog, state: TrainState, iterator: Any
) -> None:
    """Validate, write the epoch's summary, and save; where SIGTERM comes meanwhile, save only and leave the rest."""
    try:
        score = write_epoch(run, records, int(state.step), state)
    except preemption.PreemptedError:
        checkpoints.save(manager, state, iterator.get_state(), identity(run), None)
        raise
    checkpoints.save(manager, state, iterator.get_state(), identity(run), score)
