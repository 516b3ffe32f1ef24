"""The outcome of a run: test scores of its best and last checkpoints, and the quality of its corrected labels."""

import logging
from typing import NamedTuple

import numpy as np
import orbax.checkpoint as ocp

from ltpml_jax.config import fields
from ltpml_jax.data import loader
from ltpml_jax.data.labels import LabelState, class_counts, is_clean
from ltpml_jax.data.task import origin
from ltpml_jax.evaluation import expected_thresholds, label_quality, predictions_file, report, result_events
from ltpml_jax.evaluation.metrics import Scores, average_precision, scores, scores_by_positives_left
from ltpml_jax.evaluation.model_file import candidates_origin
from ltpml_jax.evaluation.prediction import predict_all, read_rows
from ltpml_jax.evaluation.predictions_file import Predictions
from ltpml_jax.evaluation.result_events import Results
from ltpml_jax.experiment import Experiment, open_checkpoint
from ltpml_jax.methods.priors import expected_shares
from ltpml_jax.runtime import checkpoints, metrics_log, processes, watchdog
from ltpml_jax.state import TrainState, evaluated

log = logging.getLogger(__name__)
NO_LABELS = "this method keeps none"
NO_TRUTH = "cannot be judged, because the dataset does not know its true labels"


class Outcome(NamedTuple):
    """Scores and precision (AP in percent float [C], NaN where undefined) by checkpoint; quality, or why it is not.

    left_out: test images that could not be read; outputs: of the last checkpoint, by prediction logits float32 [n, C]
    with rows of NaN for those; step: of that checkpoint; thresholds: float64 [C] of it, and of which images they are.
    """

    scores: dict[str, Scores]
    precision: dict[str, np.ndarray]
    quality: Scores | str
    left_out: int
    outputs: dict[str, np.ndarray]
    step: int
    thresholds: np.ndarray
    images: str


def conclude(run: Experiment, manager: ocp.CheckpointManager) -> dict[str, Scores]:
    """Print the run's table and write its test outputs, events and results.json; returns the table's scores.

    results.json comes last, so that only a finished run has it.
    """
    found = show(run, manager)
    config, names = run.config, run.task.dataset.class_names
    drawn = config.data.labels == "candidates" and not config.data.candidates
    rate = config.data.partial_rate if drawn else None
    metadata = {"candidates": run.task.digest, "partial_rate": rate, "seed": config.seed}
    classes = {at: dict(zip(names, values.tolist(), strict=True)) for at, values in found.precision.items()}
    if processes.is_first():
        keep_outputs(run, found)
        result_events.write(run.workdir, headline_results(run, found))
        report.save(run.workdir, found.scores, classes, found.quality, metadata)
        written = (report.FILE, predictions_file.FILE, metrics_log.FILE, metrics_log.EVENTS, checkpoints.FOLDER)
        log.info("Written to %s: %s", run.workdir, ", ".join(written))
    return found.scores


def keep_outputs(run: Experiment, found: Outcome) -> None:
    """Write the outputs of the last checkpoint on the test images, and thresholds; for one process of a run to call."""
    test, ids = run.task.dataset.test, []
    for row in range(len(test.labels)):
        try:
            ids.append(test.records[row]["id"])
        except Exception:  # ArrayRecord and protobuf raise kinds of their own; the image was left out then
            ids.append(f"record {row}, which cannot be read")
        watchdog.beat(f"id of test image {row}")
    predictions_file.save(run.workdir, Predictions(np.array(ids), test.labels, found.outputs, "last", found.step))
    names = run.task.dataset.class_names
    expected_thresholds.save(run.workdir, names, found.thresholds, found.step, found.images)


def headline_results(run: Experiment, found: Outcome) -> Results:
    """What the last checkpoint came to, by the prediction that counts."""
    test, row = run.task.dataset.test, next(iter(found.scores))
    logits, groups = next(iter(found.outputs.values())), run.task.dataset.groups
    names, precision = run.task.dataset.class_names, found.precision[row]
    own = fields(run.config)
    return Results(found.step, own, found.scores[row], names, precision, logits, np.asarray(test.labels), groups)


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
    found = Outcome({}, {}, NO_LABELS, 0, {}, last, np.zeros(0), "")
    steps = {"last": last} if best is None or best == last else {"last": last, "best": best}
    for which, step in steps.items():
        state = open_checkpoint(run, manager, step).state
        name = f"{which} (epoch {step / run.task.steps_per_epoch:g})"
        outputs = test_outputs(run, state)
        for number, (prediction, logits) in enumerate(outputs.items()):
            row = f"{name}, {prediction}" if number else name  # the headline first
            found.scores[row], found.precision[row], left_out = judge(run, logits)
            found = found._replace(left_out=left_out)
        if which == "last":
            counts = label_quality.measure(run.method, state, run.task)
            found = found._replace(quality=corrected_labels(run, counts), outputs=outputs)
            thresholds, images = choose_thresholds(run, state)
            found = found._replace(thresholds=thresholds, images=images)
    return found


def test_scores(run: Experiment, state: TrainState) -> dict[str, Scores]:
    """Scores on the known labels of the test split, by prediction."""
    return {name: judge(run, logits)[0] for name, logits in test_outputs(run, state).items()}


def test_outputs(run: Experiment, state: TrainState) -> dict[str, np.ndarray]:
    """Logits float32 [n, C] of the test images by prediction; rows of NaN for those that could not be read."""
    feed = loader.test_batches(run.config, run.task, run.mesh)
    return predict_all(run.predict, evaluated(state), state.rest, feed, len(run.task.dataset.test.labels))


def choose_thresholds(run: Experiment, state: TrainState) -> tuple[np.ndarray, str]:
    """The headline's `expected_thresholds` float64 [C], and which images they are made of."""
    feed, count, images = loader.familiar_batches(run.config, run.task, run.mesh)
    outputs = predict_all(run.predict, evaluated(state), state.rest, feed, count)
    logits, share = next(iter(outputs.values())), expected_shares(run.task.prior)
    return expected_thresholds.expected(expected_thresholds.scores(logits[read_rows(logits)]), share), images


def judge(run: Experiment, logits: np.ndarray) -> tuple[Scores, np.ndarray, int]:
    """Scores, and AP [C], of test logits [n, C] on known labels; how many images could not be read.

    Where positives are missing in training, the scores by those that are left are among them.
    """
    dataset, read = run.task.dataset, read_rows(logits)
    logits, labels = logits[read], np.asarray(dataset.test.labels)[read]
    found, precision = scores(logits, labels, dataset.groups), average_precision(logits, labels)
    if candidates_origin(run.config)["kind"] in ("missing", "single"):
        found |= scores_by_positives_left(precision, np.asarray(run.task.prior.state_count)[LabelState.POSITIVE])
    return found, precision, int((~read).sum())


def corrected_labels(run: Experiment, counts: label_quality.Counts | None) -> Scores | str:
    """Quality of the method's pseudo labels on the training images, in percent, or why there is none."""
    if counts is None:
        return NO_LABELS
    return label_quality.scores(counts) if is_clean(run.task.dataset.train.labels) else NO_TRUTH


def notes(run: Experiment, outcome: Outcome) -> list[str]:
    """What a reader of the table needs to know of the test split, and of images that could not be read."""
    labels, names = run.task.dataset.test.labels, run.task.dataset.class_names
    empty = [names[j] for j in np.flatnonzero(~(labels == LabelState.POSITIVE).any(0))]
    unsure = int((labels > LabelState.POSITIVE).sum())
    found = [f"no test positives, left out of the means: {', '.join(empty)}"] if empty else []
    found += [f"{unsure} test labels are not known and not counted"] if unsure else []
    found += [f"{outcome.left_out} test images cannot be read and are not counted"] if outcome.left_out else []
    found += report.left_note(next(iter(outcome.scores.values())))
    unread = metrics_log.unreadable(run.workdir)
    which = ", ".join(map(str, sorted(set(unread))))
    return found + (
        [f"training images that could not be read (index {which}) were replaced {len(unread)} times"] if unread else []
    )
