"""The outcome of a run: test scores of its best and last checkpoints, and the quality of its corrected labels."""

import logging
from typing import NamedTuple

import numpy as np
import orbax.checkpoint as ocp

from ltpml_jax.data import loader
from ltpml_jax.data.labels import LabelState, class_counts, is_clean
from ltpml_jax.data.task import origin
from ltpml_jax.evaluation import label_quality, report
from ltpml_jax.evaluation.metrics import Scores, average_precision, scores
from ltpml_jax.evaluation.prediction import predict_all, read_rows
from ltpml_jax.experiment import Experiment, open_checkpoint
from ltpml_jax.runtime import checkpoints, metrics_log, processes
from ltpml_jax.state import TrainState, evaluated

log = logging.getLogger(__name__)
NO_LABELS = "this method keeps none"
NO_TRUTH = "cannot be judged, because the dataset does not know its true labels"


class Outcome(NamedTuple):
    """Scores and precision (AP in percent float [C], NaN where undefined) by checkpoint; quality, or why it is not.

    left_out: test images that could not be read.
    """

    scores: dict[str, Scores]
    precision: dict[str, np.ndarray]
    quality: Scores | str
    left_out: int


def conclude(run: Experiment, manager: ocp.CheckpointManager) -> dict[str, Scores]:
    """Print the run's table and write results.json, which only a finished run has; returns the table's scores."""
    found = show(run, manager)
    config, names = run.config, run.task.dataset.class_names
    rate = None if config.data.candidates else config.data.partial_rate
    metadata = {"candidates": run.task.digest, "partial_rate": rate, "seed": config.seed}
    classes = {at: dict(zip(names, values.tolist(), strict=True)) for at, values in found.precision.items()}
    if processes.is_first():
        report.save(run.workdir, found.scores, classes, found.quality, metadata)
        written = (report.FILE, metrics_log.FILE, metrics_log.EVENTS, checkpoints.FOLDER)
        log.info("Written to %s: %s", run.workdir, ", ".join(written))
    return found.scores


def show(run: Experiment, manager: ocp.CheckpointManager) -> Outcome:
    """Evaluate the run's checkpoints and print the table."""
    found = assess(run, manager)
    task, config = run.task, run.config
    title = (
        f"{config.method.name} ({config.data.priors}) on {task.dataset.name}, {origin(config)}: "
        f"{len(task.dataset.test.labels)} test images, percent"
    )
    if processes.is_first():
        print(report.table(title, found.scores, found.quality, notes(run, found)), flush=True)
    return found


def show_classes(run: Experiment, found: Outcome) -> None:
    """Print the average precision of every class."""
    data = run.task.dataset
    counts = class_counts(data.train.labels)
    print(report.class_table(data.class_names, counts, data.groups, found.precision), flush=True)


def assess(run: Experiment, manager: ocp.CheckpointManager) -> Outcome:
    """Scores of the last and, where it is another, the best checkpoint; label quality of the last."""
    last, best = checkpoints.newest(manager), manager.best_step()
    found = Outcome({}, {}, NO_LABELS, 0)
    steps = {"last": last} if best is None or best == last else {"last": last, "best": best}
    for which, step in steps.items():
        state = open_checkpoint(run, manager, step).state
        name = f"{which} (epoch {step / run.task.steps_per_epoch:g})"
        for number, (prediction, judged) in enumerate(test_scores(run, state).items()):
            row = f"{name}, {prediction}" if number else name  # the headline first
            found.scores[row], found.precision[row], left_out = judged
            found = found._replace(left_out=left_out)
        if which == "last":
            found = found._replace(quality=corrected_labels(run, state))
    return found


def test_scores(run: Experiment, state: TrainState) -> dict[str, tuple[Scores, np.ndarray, int]]:
    """By prediction: scores, and AP [C], on the known labels of the test split; how many images could not be read."""
    dataset = run.task.dataset
    feed = loader.test_batches(run.config, run.task, run.mesh)
    outputs = predict_all(run.predict, evaluated(state), state.rest, feed, len(dataset.test.labels))
    found = {}
    for name, logits in outputs.items():
        read = read_rows(logits)
        logits, labels = logits[read], np.asarray(dataset.test.labels)[read]
        precision = average_precision(logits, labels)
        found[name] = (scores(logits, labels, dataset.groups), precision, int((~read).sum()))
    return found


def corrected_labels(run: Experiment, state: TrainState) -> Scores | str:
    """Quality of the method's pseudo labels on the training images, or why there is none."""
    truth = run.task.dataset.train.labels
    if run.method.beliefs is None:
        return NO_LABELS
    if not is_clean(truth):
        return NO_TRUTH
    return label_quality.measure(run.method, state, run.task)


def notes(run: Experiment, outcome: Outcome) -> list[str]:
    """What a reader of the table needs to know of the test split, and of images that could not be read."""
    labels, names = run.task.dataset.test.labels, run.task.dataset.class_names
    empty = [names[j] for j in np.flatnonzero(~(labels == LabelState.POSITIVE).any(0))]
    unsure = int((labels > LabelState.POSITIVE).sum())
    found = [f"no test positives, left out of the means: {', '.join(empty)}"] if empty else []
    found += [f"{unsure} test labels are not known and not counted"] if unsure else []
    found += [f"{outcome.left_out} test images cannot be read and are not counted"] if outcome.left_out else []
    unread = metrics_log.unreadable(run.workdir)
    which = ", ".join(map(str, sorted(set(unread))))
    return found + (
        [f"training images that could not be read (index {which}) were replaced {len(unread)} times"] if unread else []
    )
