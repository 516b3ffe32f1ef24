"""What a run writes beside its checkpoints: the records of its steps, and an epoch's summary with its validation."""

import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics as clu_metrics

from ltpml_jax import checkpoints, evaluation
from ltpml_jax.data import loaders
from ltpml_jax.errors import UserError
from ltpml_jax.records import Records, step_record
from ltpml_jax.setup import Run
from ltpml_jax.state import TrainState

Pending = list[tuple[int, dict, bytes]]  # step, its metrics (on the device), its batch's digest


def write_steps(this: Run, records: Records, pending: Pending) -> None:
    """Write the pending steps.

    Raises UserError where a loss is not finite, before anything of them is written.
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


def write_epoch(this: Run, records: Records, step: int, state: TrainState) -> float:
    """Write the summary of the epoch that ends with `step`; returns the score of its checkpoint.

    Raises PreemptedError where SIGTERM comes during validation; nothing is written then.
    """
    epoch = (step - 1) // this.setting.steps_per_epoch
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
