"""A training run: from a config to a table, going on from the newest checkpoint where there is one."""

import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from clu import parameter_overview
from flax import nnx

from ltpml_jax import checkpoints, evaluation, preemption
from ltpml_jax.bookkeeping import Pending, write_epoch, write_steps
from ltpml_jax.config import check_workdir, settle, validate
from ltpml_jax.data import loaders
from ltpml_jax.data.embedded import EMBEDDED
from ltpml_jax.data.setting import origin
from ltpml_jax.lock import sole_run
from ltpml_jax.outcome import conclude
from ltpml_jax.progress import Progress
from ltpml_jax.records import Records
from ltpml_jax.setup import Run, choose_devices, compile_step, facts, fresh_state, open_newest, prepare
from ltpml_jax.state import TrainState, batch_sharding, make_mesh
from ltpml_jax.types import Config

RUN_AHEAD = 8  # steps queued on the device: enough to keep it busy, few enough to bound the batches in memory
FROM_SCRATCH = (
    "WARNING: this backbone starts from random weights, on photographs; the recipe expects pretrained ones "
    "(--config.model.pretrained=hf:timm/resnet50.tv_in1k, or the path of a file). Without them, frozen stages stay "
    "random (config.model.frozen_stages is %d) and stored statistics mean nothing (config.model.backbone_norm is %r)."
)
log = logging.getLogger(__name__)


def run(config: Config, workdir: Path) -> dict[str, evaluation.Scores]:
    """Train (or go on), evaluate on the test split, print and save the table; returns the table's scores.

    Raises UserError for what the user can mend (a bad field, a foreign directory, a loss that is not finite, ...), and
    PreemptedError where SIGTERM stopped it; the same call goes on then.
    """
    validate(config)
    mesh = make_mesh(choose_devices(config))
    check_workdir(config, workdir)
    this = prepare(config, workdir, mesh, pretrained=True)
    with sole_run(workdir), preemption.watched():
        settle(config, workdir)
        with checkpoints.open_manager(workdir) as manager:
            state, iterator = resume(this, manager)
            announce(this, state)
            train(this, manager, state, iterator)
            iterator.close()
            return conclude(this, manager)


def resume(this: Run, manager: ocp.CheckpointManager) -> tuple[TrainState, Any]:
    """State and iterator of the newest checkpoint that can be read, or fresh ones where there is none at all."""
    iterator = loaders.train_iterator(this.config, this.setting)
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
    log.info("%d device(s): %s", mesh.size, mesh.devices.flat[0].device_kind)
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
    """Take all steps that are left. Within an epoch the host only waits for steps that are RUN_AHEAD back.

    Raises PreemptedError where SIGTERM comes, after the state is saved.
    """
    config, per_epoch = this.config, this.setting.steps_per_epoch
    step, total = int(state.step), config.train.epochs * per_epoch
    records = Records(this.workdir, step)
    if step and step % per_epoch == 0 and not records.has_epoch(step):  # SIGTERM came in its validation
        manager.delete(step)
        end_epoch(this, manager, records, state, iterator)
    if step >= total:
        return records.close()
    progress = Progress(total, config.data.batch_size)
    advance, sharding = compile_step(this), batch_sharding(this.mesh)
    pending: Pending = []  # steps whose metrics are not written yet
    try:
        while step < total:
            batch = next(iterator)
            digest = batch.pop("digest").tobytes()
            state, metrics = advance(state, jax.device_put(batch, sharding))
            step += 1
            pending.append((step, metrics, digest))
            if len(pending) > RUN_AHEAD:
                number, behind, _ = pending[-RUN_AHEAD]
                progress.update(number, (number - 1) // per_epoch, float(behind["loss"]))
            every, stop = config.train.checkpoint_every, preemption.asked()
            if stop or step % per_epoch == 0 or (every and step % every == 0):
                write_steps(this, records, pending)
                if step % per_epoch == 0:
                    end_epoch(this, manager, records, state, iterator)
                else:
                    checkpoints.save(manager, state, iterator.get_state(), facts(this), None)
                progress.update(step, (step - 1) // per_epoch, float(metrics["loss"]))
                records.scalar("images_per_second", progress.speed(step), step)
                pending.clear()
            if stop:
                raise preemption.PreemptedError
    finally:
        progress.close()
        records.close()


def end_epoch(this: Run, manager: ocp.CheckpointManager, records: Records, state: TrainState, iterator: Any) -> None:
    """Validate, write the epoch's summary, and save; where SIGTERM comes meanwhile, save only and leave the rest."""
    try:
        score = write_epoch(this, records, int(state.step), state)
    except preemption.PreemptedError:
        checkpoints.save(manager, state, iterator.get_state(), facts(this), None)
        raise
    checkpoints.save(manager, state, iterator.get_state(), facts(this), score)
