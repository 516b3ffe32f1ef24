"""What the plots of a run need: always its work directory, and its dataset and checkpoint where they are there."""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ltpml_jax.audit.belief import shares_out
from ltpml_jax.data import augment, datasets
from ltpml_jax.data.labels import LabelState, is_clean
from ltpml_jax.data.task import Task
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import comparison, expected_thresholds
from ltpml_jax.evaluation.comparison import FinishedRun
from ltpml_jax.evaluation.opened import OpenRun, open_run
from ltpml_jax.methods.label_states import listed
from ltpml_jax.plotting import beliefs, curves
from ltpml_jax.plotting.beliefs import Shown
from ltpml_jax.runtime import metrics_log

DEFAULT_THRESHOLD = 0.5  # of runs of earlier versions, which have no thresholds.json


class Trained(NamedTuple):
    """What dataset and checkpoint add, of N training images: counts float64 [C] by what they are; images and `shared`
    as `beliefs.plot` has them, no images where the method keeps no beliefs.
    """

    counts: dict[str, np.ndarray]
    images: tuple[Shown, ...]
    shared: bool


class PlottedRun(NamedTuple):
    """A finished run: label; epochs as `curves.epochs`; thresholds [C] and what they are; trained, or why it is not."""

    label: str
    run: FinishedRun
    epochs: dict[str, np.ndarray]
    thresholds: np.ndarray
    thresholds_are: str
    trained: Trained | str


def gather(workdirs: Sequence[Path], data_dir: str = "") -> list[PlottedRun]:
    """Read some runs of the same test images and classes.

    data_dir: where the datasets lie, if not where the runs had them. Raises UserError where a work directory has no
    finished run, a file of it is damaged, or two runs have other test images or classes.
    """
    paths = list(dict.fromkeys(path.resolve() for path in workdirs))
    runs = [comparison.load(path) for path in paths]
    comparison.check_same(runs)
    return [gather_one(label, run, data_dir) for label, run in zip(labels(paths), runs, strict=True)]


def labels(paths: Sequence[Path]) -> list[str]:
    """What plots call the runs: the end of each path, as long as it takes to tell them apart."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        found = ["/".join(path.parts[-depth:]) for path in paths]
        if max(Counter(found).values()) == 1:
            return found
    raise AssertionError("the same path twice")


def gather_one(label: str, run: FinishedRun, data_dir: str) -> PlottedRun:
    """One run; UserError where its thresholds or records are damaged."""
    lines = map(json.loads, metrics_log.kept_lines(run.workdir / metrics_log.FILE, sys.maxsize))
    thresholds, what = read_thresholds(run)
    try:
        trained: Trained | str = read_trained(run, data_dir)
    except UserError as error:
        trained = str(error)
    return PlottedRun(label, run, curves.epochs(list(lines)), thresholds, what, trained)


def read_thresholds(run: FinishedRun) -> tuple[np.ndarray, str]:
    """Thresholds float64 [C] of thresholds.json, DEFAULT_THRESHOLD where the run has none; and which, in words."""
    names = run.model.class_names
    if not (run.workdir / expected_thresholds.FILE).exists():
        return np.full(len(names), DEFAULT_THRESHOLD), f"predicted is a score above {DEFAULT_THRESHOLD}"
    found, _ = expected_thresholds.load(run.workdir)
    if list(found) != list(names):
        raise UserError(
            f"{run.workdir / expected_thresholds.FILE} has other classes than the run; make it with `ltpml evaluate "
            f"--workdir={run.workdir} --predictions`, where the dataset is."
        )
    return np.array(list(found.values()), np.float64), "predicted is a score above the run's threshold"


def read_trained(run: FinishedRun, data_dir: str) -> Trained:
    """Counts of the training labels and some images with beliefs; UserError where dataset or checkpoint are gone."""
    folder = data_dir or run.fields["data.dir"]
    name = run.fields["data.name"]
    if not datasets.folder_of(name, folder).exists():
        raise UserError(f"The dataset {name} is not in {folder}; --data_dir says where it lies.")
    opened = open_run(run.workdir, data_dir=data_dir)
    task = opened.run.task
    if task.digest != run.model.record["dataset"]["candidates_sha256"]:
        raise UserError(f"The labels of {name} in {folder} are not those that the run had.")
    counts = training_counts(task)
    if opened.network.method.beliefs is None:
        return Trained(counts, (), False)
    soft, _ = opened.beliefs()
    at = listed(task.served[:])
    counts["soft labels, summed"] = np.where(at, soft, 0).sum(0, dtype=np.float64)
    images = tuple(show(opened, task, soft, at))
    return Trained(counts, images, shares_out(soft, at.sum(1)))


def training_counts(task: Task) -> dict[str, np.ndarray]:
    """Training images with each class, float64 [C]: truly, where it is known, and as the labels say."""
    truth, counts = task.dataset.train.labels, {}
    if is_clean(truth):
        counts["true"] = (truth[task.train] == LabelState.POSITIVE).sum(0).astype(np.float64)
    return counts | {"candidates": task.served.candidate_counts().astype(np.float64)}


def show(opened: OpenRun, task: Task, soft: np.ndarray, at: np.ndarray) -> list[Shown]:
    """Some training images; soft float [N, C], at bool [N, C]: the candidate sets."""
    labels, data = task.dataset.train.labels, task.dataset
    truth = np.asarray(labels[task.train] == LabelState.POSITIVE) if is_clean(labels) else None
    found = []
    for row in beliefs.choose(at, truth):
        record = data.train.records[int(task.train[row])]
        try:
            pixels = augment.decode(record["image"])
        except ValueError:
            continue  # the run could not read it either
        true = None if truth is None else truth[row]
        found.append(beliefs.shown(record["id"], pixels, opened.class_names, soft[row], at[row], true))
    return found


def shares(one: PlottedRun) -> dict[str, np.ndarray]:
    """Percent of images float64 [C] for `distribution.plot`: truth first, where it is known."""
    model, predictions = one.run.model, one.run.predictions
    size = max(int(model.record["dataset"]["training_images"]), 1)
    found: dict[str, np.ndarray] = {}
    if isinstance(one.trained, Trained):
        named = {"true": "true training labels", "candidates": "candidates in training"}
        found = {named.get(what, what): 100 * values / size for what, values in one.trained.counts.items()}
    found["given to the run" if model.record["counts_are"] == "oracle" else "estimated by the run"] = (
        100 * model.class_counts / size
    )
    known = predictions.states <= LabelState.POSITIVE
    true = (predictions.states == LabelState.POSITIVE).sum(0) / np.maximum(known.sum(0), 1)
    score = expected_thresholds.scores(comparison.headline(one.run)).astype(np.float64)
    read = np.isfinite(score).all(1)
    mean = score[read].mean(0) if read.any() else np.full(score.shape[1], np.nan)
    return found | {"true test labels": 100 * true, "mean score on test images": 100 * mean}


def frequency(runs: Sequence[PlottedRun]) -> tuple[np.ndarray, str]:
    """Training images with each class float64 [C], and whether they are "true" or "estimated", for all runs alike.

    The true counts of the first run that knows them; else the mean of what the runs estimated.
    """
    for one in runs:
        counts: Mapping[str, np.ndarray] = one.trained.counts if isinstance(one.trained, Trained) else {}
        if "true" in counts:
            return counts["true"], "true"
        if one.run.model.record["counts_are"] == "oracle":
            return one.run.model.class_counts, "true"
    return np.mean([one.run.model.class_counts for one in runs], axis=0), "estimated"
