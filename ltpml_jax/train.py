"""A training run: from a config to a table, going on from the newest checkpoint where there is one."""

import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from clu import metrics as clu_metrics
from clu import parameter_overview
from flax import nnx

from ltpml_jax import checkpoints, evaluation
from ltpml_jax.config import check_workdir, settle, validate
from ltpml_jax.data import loaders
from ltpml_jax.data.embedded import EMBEDDED
from ltpml_jax.data.setting import origin
from ltpml_jax.errors import UserError
from ltpml_jax.lock import sole_run
from ltpml_jax.outcome import conclude
from ltpml_jax.progress import Progress
from ltpml_jax.records import Records, step_record
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

    Raises UserError for what the user can mend: a bad field, a foreign directory, a loss that is not finite, ...
    """
    validate(config)
    mesh = make_mesh(choose_devices(config))
    check_workdir(config, workdir)
    this = prepare(config, workdir, mesh, pretrained=True)
    with sole_run(workdir):
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
    """Take all steps that are left. Within an epoch the host only waits for steps that are RUN_AHEAD back."""
    config, per_epoch = this.config, this.setting.steps_per_epoch
    step, total = int(state.step), config.train.epochs * per_epoch
    if step >= total:
        return
    records = Records(this.workdir, step)
    progress = Progress(total, config.data.batch_size)
    advance, sharding = compile_step(this), batch_sharding(this.mesh)
    pending: list[tuple[int, dict, bytes]] = []  # steps whose metrics are not written yet
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
            every = config.train.checkpoint_every
            if step % per_epoch == 0 or (every and step % every == 0):
                score = write_records(this, records, pending, state)
                checkpoints.save(manager, state, iterator.get_state(), facts(this), score)
                progress.update(step, (step - 1) // per_epoch, float(metrics["loss"]))
                records.scalar("images_per_second", progress.speed(step), step)
                pending.clear()
    finally:
        progress.close()
        records.close()


def write_records(
    this: Run, records: Records, pending: list[tuple[int, dict, bytes]], state: TrainState
) -> float | None:
    """Write the pending steps, and at an epoch's end its summary; returns the score of a checkpoint made now.

    Raises UserError where a loss is not finite, before anything of it is written.
    """
    per_epoch = this.setting.steps_per_epoch
    lines = [
        step_record(number, (number - 1) // per_epoch, metrics, digest)
        for number, metrics, digest in jax.device_get(pending)
    ]
    for line in lines:
        if not np.isfinite(line["loss"]):
            raise UserError(
                f"The loss is {line['loss']} at step {line['step']} (epoch {line['epoch'] + 1}); nothing after the "
                "checkpoint before it was saved. Lower config.optim.learning_rate, or look at that batch's images."
            )
    records.write(lines)
    step, epoch = lines[-1]["step"], lines[-1]["epoch"]
    if step % per_epoch:
        return None
    losses = np.array(records.epoch_losses(epoch))
    mean = float(clu_metrics.Average.from_model_output(jnp.asarray(losses)).compute())
    score = validation_score(this, state)
    records.write([{"step": step, "epoch": epoch, "epoch_loss": mean, checkpoints.SCORE: score}])
    return step if np.isnan(score) else score


def validation_score(this: Run, state: TrainState) -> float:
    """mAP in percent on the held-out training images, against their candidate sets; NaN where none are held out."""
    if not len(this.setting.validation):
        return float("nan")
    batches = loaders.validation_batches(this.config, this.setting, this.mesh.size)
    logits = evaluation.predict_all(this.predict, state.params, state.rest, batches)
    return float(np.nanmean(evaluation.average_precision(logits, this.setting.validation_labels)))
