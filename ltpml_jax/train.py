"""A training run: from a config to a table, going on from the newest checkpoint where there is one."""

import contextlib
import io
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from clu import parameter_overview
from flax import nnx

from ltpml_jax import checkpoints, cluster, evaluation, preemption, watchdog
from ltpml_jax.bookkeeping import Steps, write_epoch
from ltpml_jax.config import check_workdir, fields, settle, validate
from ltpml_jax.data import loaders
from ltpml_jax.data.digits_mlt import EMBEDDED
from ltpml_jax.data.setting import origin
from ltpml_jax.feed import AHEAD
from ltpml_jax.lock import sole_run
from ltpml_jax.outcome import conclude
from ltpml_jax.progress import Progress
from ltpml_jax.records import Records
from ltpml_jax.setup import Run, choose_devices, compile_step, facts, fresh_state, open_newest, prepare
from ltpml_jax.state import TrainState, make_mesh
from ltpml_jax.types import Config

FROM_SCRATCH = (
    "WARNING: this backbone starts from random weights, on photographs; the recipe expects pretrained ones "
    "(--config.model.pretrained=hf:timm/resnet50.tv_in1k, or the path of a file). Without them, frozen stages stay "
    "random (config.model.frozen_stages is %d) and stored statistics mean nothing (config.model.backbone_norm is %r)."
)
log = logging.getLogger(__name__)


def run(config: Config, workdir: Path) -> dict[str, evaluation.Scores]:
    """Train (or go on), evaluate on the test split, print and save the table; returns the table's scores.

    Where the run has several processes, all call it alike. Raises UserError for what the user can mend (a bad field, a
    foreign directory, a loss that is not finite, ...), and PreemptedError where SIGTERM stopped it; the same call goes
    on then.
    """
    this = cluster.together(lambda: _prepare(config, workdir))
    same_everywhere(this)
    with contextlib.ExitStack() as stack, preemption.watched():
        cluster.together(lambda: _claim(stack, config, workdir) if cluster.is_first() else None)
        with checkpoints.open_manager(workdir) as manager:
            state, iterator = resume(this, manager)
            announce(this, state)
            train(this, manager, state, iterator)
            iterator.close()
            return conclude(this, manager)


def _prepare(config: Config, workdir: Path) -> Run:
    validate(config)
    cluster.check_joined()
    mesh = make_mesh(choose_devices(config))
    check_workdir(config, workdir)
    this = prepare(config, workdir, mesh, pretrained=True)
    watchdog.beat("loading data and network")
    return this


def _claim(stack: contextlib.ExitStack, config: Config, workdir: Path) -> None:
    stack.enter_context(sole_run(workdir))
    settle(config, workdir)


def same_everywhere(this: Run) -> None:
    """Raise UserError in all processes where two of them have other configs or candidate sets.

    Only where the dataset lies may differ, as a host may have a copy of its own.
    """
    config = {name: value for name, value in fields(this.config).items() if name != "data.dir"}
    told = cluster.exchange(f"{this.setting.digest} {sorted(config.items())}")
    others = [number for number, text in enumerate(told) if text != told[0]]
    if others:
        raise cluster.SharedError(
            f"Process {others[0]} has another config or other data than process 0; start all with the same command."
        )


def resume(this: Run, manager: ocp.CheckpointManager) -> tuple[TrainState, Any]:
    """State and iterator of the newest checkpoint that can be read, or fresh ones where there is none at all."""
    iterator = loaders.train_iterator(this.config, this.setting, this.mesh)
    for step, place in checkpoints.clear_unfinished(manager).items():
        log.warning("WARNING: The checkpoint of step %d was not saved to its end. It is now %s.", step, place)
    if manager.latest_step() is None:
        return fresh_state(this), iterator
    restored = open_newest(this, manager)
    iterator.set_state(restored.iterator)
    log.info("Going on from step %d", int(restored.state.step))
    return restored.state, iterator


def announce(this: Run, state: TrainState) -> None:
    """Log what the run is: parameters, devices, data, candidate sets."""
    setting, mesh = this.setting, this.mesh
    overview = parameter_overview.get_parameter_overview(nnx.to_pure_dict(this.parts.trainable), include_stats=False)
    log.info("Parameters that train:\n%s", overview)
    processes = len({device.process_index for device in mesh.devices.flat})
    among = f" of {processes} processes" if processes > 1 else ""
    log.info("%d device(s)%s: %s", mesh.size, among, mesh.devices.flat[0].device_kind)
    log.info(
        "%s: %d training images (%d held out), %d classes, %d steps an epoch",
        setting.dataset.name, len(setting.train), len(setting.validation), setting.served.shape[1],
        setting.steps_per_epoch,
    )  # fmt: skip
    if not this.config.model.pretrained and setting.dataset.name not in EMBEDDED:
        log.warning(FROM_SCRATCH, this.config.model.frozen_stages, this.config.model.backbone_norm)
    log.info("Candidate sets: %s, sha256 %s", origin(this.config), setting.digest)
    counts = ", ".join(f"{count:.0f}" for count in np.asarray(setting.prior.class_count))
    log.info("Class counts (%s): %s", this.config.method.priors, counts)


def train(this: Run, manager: ocp.CheckpointManager, state: TrainState, iterator: Any) -> None:
    """Take all steps that are left. Within an epoch the host only waits for steps that are AHEAD back.

    Raises PreemptedError where SIGTERM comes, after the state is saved.
    """
    config, per_epoch = this.config, this.setting.steps_per_epoch
    step, total = int(state.step), config.train.epochs * per_epoch
    records = Records(this.workdir, step, writes=cluster.is_first())
    if step and step % per_epoch == 0 and unsummed(records, step):  # SIGTERM came in its validation
        manager.delete(step)
        end_epoch(this, manager, records, state, iterator)
    if step >= total:
        watchdog.started()
        return records.close()
    progress = Progress(total, config.data.batch_size, sys.stderr if cluster.is_first() else io.StringIO())
    feed = loaders.train_feed(config, this.setting, this.mesh, iterator)
    advance, steps = compile_step(this), Steps(this, records, feed, progress)
    try:
        while step < total:
            batch, news = next(feed)
            watchdog.beat(f"batch {step + 1} read")
            state, metrics = advance(state, batch)
            step += 1
            steps.add(step, metrics, news)
            steps.settle(AHEAD, state)
            every, at_end = config.train.checkpoint_every, step % per_epoch == 0
            if steps.stop or at_end or (every and step % every == 0):
                steps.settle(0, state)
                steps.write()
                if at_end:
                    end_epoch(this, manager, records, state, iterator)
                else:
                    checkpoints.save(manager, state, iterator.get_state(), facts(this), None)
                records.scalar("images_per_second", progress.speed(step), step)
            if steps.stop:
                raise preemption.PreemptedError
    finally:
        progress.close()
        records.close()


def unsummed(records: Records, step: int) -> bool:
    """Whether the summary of the epoch that ends with `step` is missing."""
    return cluster.from_first(lambda: "" if records.has_epoch(step) else "missing") == "missing"


def end_epoch(this: Run, manager: ocp.CheckpointManager, records: Records, state: TrainState, iterator: Any) -> None:
    """Validate, write the epoch's summary, and save; where SIGTERM comes meanwhile, save only and leave the rest."""
    try:
        score = write_epoch(this, records, int(state.step), state)
    except preemption.PreemptedError:
        checkpoints.save(manager, state, iterator.get_state(), facts(this), None)
        raise
    checkpoints.save(manager, state, iterator.get_state(), facts(this), score)
