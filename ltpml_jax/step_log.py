"""What a run records as it trains: each step's line, steps that were not applied, an epoch's summary."""

import logging
from collections import deque
from typing import Any

import jax
import numpy as np

from ltpml_jax.data import batches, loader
from ltpml_jax.data.feed import Arrays, Feed
from ltpml_jax.errors import SharedError
from ltpml_jax.evaluation import label_quality
from ltpml_jax.evaluation.metrics import average_precision
from ltpml_jax.evaluation.outcome import corrected_labels
from ltpml_jax.evaluation.prediction import predict_all, read_rows
from ltpml_jax.experiment import Experiment, identity
from ltpml_jax.runtime import checkpoints, processes, watchdog
from ltpml_jax.runtime.metrics_log import MetricsLog, step_record
from ltpml_jax.runtime.progress import Progress
from ltpml_jax.state import TrainState, evaluated

NONE_POSITIVE = (
    "WARNING: after the first epoch no pseudo label is positive; where config.method.name trains on its pseudo labels, "
    "it learns from no positive (as NDLP does where every image has one label alone). Take another method."
)
log = logging.getLogger(__name__)


class Steps:
    """Steps that were taken, but not written yet; the same in every process.

    stop: whether SIGTERM came to any process, as far as is known.
    """

    def __init__(self, run: Experiment, records: MetricsLog, feed: Feed, progress: Progress) -> None:
        """No steps yet."""
        self.run, self.records, self.feed, self.progress, self.stop = run, records, feed, progress, False
        self.waiting: deque[tuple[int, dict, Arrays]] = deque()  # the devices may not have come to them yet
        self.lines: list[dict[str, Any]] = []

    def add(self, step: int, metrics: dict, broadcasts: Arrays) -> None:
        """A step that was handed to the devices: metrics and broadcasts are still on them."""
        self.waiting.append((step, metrics, broadcasts))

    def collect(self, keep: int, state: TrainState) -> None:
        """Wait for all but the `keep` newest steps, and make their records.

        state: the newest. Raises UserError in every process where one could not read its part of a batch, and where
        too many steps in a row were not applied.
        """
        while len(self.waiting) > keep:
            step, metrics, broadcasts = self.waiting.popleft()
            gathered, metrics = self.feed.gather(broadcasts), jax.device_get(metrics)
            self.stop |= bool(gathered["stop"])
            skipped = int(metrics.pop("skipped"))
            self.lines.append(self._line(step, metrics, gathered, skipped))
            watchdog.started()
            watchdog.beat(f"step {step}")
            self.progress.update(step, self.lines[-1]["epoch"], self.lines[-1]["loss"])
            if skipped:
                self._not_applied(step, skipped, gathered, state)

    def write(self) -> None:
        """Write the records of the steps that are collected."""
        self.records.write(self.lines)
        self.lines = []

    def _line(self, step: int, metrics: dict, gathered: dict, skipped: int) -> dict[str, Any]:
        epoch = (step - 1) // self.run.task.steps_per_epoch
        line = step_record(step, epoch, metrics, batches.digest(gathered["note"]))
        unread = gathered["unreadable"][gathered["unreadable"] >= 0]
        if len(unread):
            line["unreadable"] = self.run.task.train[unread].tolist()
            log.warning(
                "WARNING: step %d: images that cannot be read (index %s) were replaced", step, line["unreadable"]
            )
        return line | ({"not_applied": skipped} if skipped else {})

    def _not_applied(self, step: int, skipped: int, gathered: dict, state: TrainState) -> None:
        loss, most = self.lines[-1]["loss"], self.run.config.train.max_skipped
        log.warning(
            "WARNING: step %d is not applied: loss %s, or gradients, not finite (%d in a row)", step, loss, skipped
        )
        if skipped == 1:
            batch = self._batch(step, loss, gathered)
            place = checkpoints.dump(self.run.workdir, step, state, batch, identity(self.run))
            log.warning("Its batch and the state are in %s", place)
        if skipped >= most:
            self.write()
            raise SharedError(
                f"Step {step} is the last of {skipped} in a row whose loss or gradients are not finite (loss {loss}); "
                "nothing after the checkpoint before them was saved. Lower config.optim.learning_rate, or inspect the "
                f"batch in {self.run.workdir / checkpoints.DUMPS}."
            )

    def _batch(self, step: int, loss: float, gathered: dict) -> dict[str, Any]:
        rows = self.run.task.train[gathered["index"]]
        return {
            "step": step,
            "loss": str(loss),
            "index": rows.tolist(),
            "batch": batches.digest(gathered["note"]).hex(),
        }


def write_epoch(run: Experiment, records: MetricsLog, step: int, state: TrainState) -> float:
    """Write the summary of the epoch that ends with `step`; returns the score of its checkpoint.

    The quality of corrected labels is in it where the method keeps some and the truth is known, which no step sees.
    The histogram of soft labels goes to TensorBoard.

    Raises PreemptedError where SIGTERM comes during validation; nothing is written then.
    """
    score, counts = validation_score(run, state), label_quality.measure(run.method, state, run.task)
    if counts is not None:
        records.histogram("soft_labels_of_candidates", counts.spread, step)
    if processes.is_first():
        epoch = (step - 1) // run.task.steps_per_epoch
        losses = records.epoch_losses(epoch)
        mean = float(np.mean(losses)) if losses else float("nan")
        quality = corrected_labels(run, counts)
        known = {} if isinstance(quality, str) else quality
        if counts is not None and not counts.predicted and epoch == 0:
            log.warning(NONE_POSITIVE)
        records.write([{"step": step, "epoch": epoch, "epoch_loss": mean, checkpoints.SCORE: score} | known])
    return step if np.isnan(score) else score


def validation_score(run: Experiment, state: TrainState) -> float:
    """mAP in percent on the held-out training images, against their candidate sets; NaN where none are held out."""
    images = len(run.task.validation)
    if not images:
        return float("nan")
    feed = loader.validation_batches(run.config, run.task, run.mesh)
    logits = next(iter(predict_all(run.predict, evaluated(state), state.rest, feed, images).values()))
    read = read_rows(logits)
    return float(np.nanmean(average_precision(logits[read], run.task.validation_labels[read])))
