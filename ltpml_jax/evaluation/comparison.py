"""Runs compared: grouped by what they were trained with, scored on their own test outputs, with intervals.

Runs of one group differ in their seeds only. What a difference's interval says, and what it does not, is in
bootstrap.py.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ltpml_jax.config import check_names, check_values, fields, settings
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import bootstrap, model_file, predictions_file
from ltpml_jax.evaluation.bootstrap import SCORES, Difference
from ltpml_jax.evaluation.metrics import average_precision
from ltpml_jax.evaluation.model_file import ModelFile
from ltpml_jax.evaluation.predictions_file import Predictions
from ltpml_jax.runtime import metrics_log
from ltpml_jax.workdir import FILE as CONFIG_FILE
from ltpml_jax.workdir import saved_config

SEEDS = ("seed", "data.candidate_seed")
ALL_PAIRS = 4  # groups up to which every pair is compared; beyond, the best with each other one
FEW = 3  # seeds below which a standard deviation says little
_SAME_BUDGET = 1.01  # ratio of the largest to the smallest, up to which budgets count as equal


class Budget(NamedTuple):
    """What a run cost: steps; images sampled over the run; of which so many train; differentiated passes a step.

    passes is NaN where the run's records are gone.
    """

    steps: int
    images: int
    training_images: int
    passes: float


class FinishedRun(NamedTuple):
    """A finished run: its config's fields by dotted name, and what it left."""

    workdir: Path
    fields: dict[str, Any]
    model: ModelFile
    predictions: Predictions
    budget: Budget


class Group(NamedTuple):
    """Runs that differ in seeds only; scores float [runs, 4] by bootstrap.SCORES, in percent."""

    label: str
    runs: tuple[FinishedRun, ...]
    scores: np.ndarray


class GroupPair(NamedTuple):
    """Two groups by label; differences by bootstrap.SCORES, and their p values after Holm's correction."""

    first: str
    second: str
    differences: tuple[Difference, ...]
    corrected: tuple[float, ...]


class Comparison(NamedTuple):
    """Groups by descending mAP, labelled by the values of `by`; pairs, all tested together; what a reader must know."""

    by: tuple[str, ...]
    groups: tuple[Group, ...]
    pairs: tuple[GroupPair, ...]
    images: int
    notes: tuple[str, ...]


def compare(
    workdirs: Sequence[Path], by: Sequence[str] = (), draws: int = bootstrap.DRAWS, seed: int = 0
) -> Comparison:
    """Compare the runs in some work directories.

    by: fields that group the runs; without any, all but the seeds and those that change no result. draws, seed: of the
    bootstrap. Head, medium and tail classes are those of the first run. Raises UserError for a run that is not
    finished, a field that there is not, and runs whose test images, test labels or classes differ.
    """
    runs = [load(path) for path in dict.fromkeys(path.resolve() for path in workdirs)]
    check_same(runs)
    grouped, names, notes = group(runs, by)
    read = np.all([np.isfinite(headline(run)).all(1) for run in runs], axis=0)
    states = runs[0].predictions.states[read]
    logits = [headline(run)[read] for members in grouped.values() for run in members]
    masks = runs[0].model.groups
    observed = np.array([observed_scores(one, states, masks) for one in logits])
    drawn = bootstrap.drawn_scores(logits, states, masks, draws, seed) if len(grouped) > 1 else observed[:, None]
    ends = np.cumsum([len(members) for members in grouped.values()])[:-1]
    parts = zip(grouped.items(), np.split(observed, ends), np.split(drawn, ends), strict=True)
    found = [(Group(label, tuple(members), scores), draw.mean(0)) for (label, members), scores, draw in parts]
    found.sort(key=lambda one: -np.nan_to_num(one[0].scores[:, 0].mean(), nan=-1.0))
    if not read.all():
        notes = [*notes, f"{int((~read).sum())} test images that a run could not read are left out for all runs"]
    notes = [*notes, *regrouped(runs)]
    groups = tuple(one for one, _ in found)
    return Comparison(tuple(names), groups, compare_pairs(found), len(states), (*notes, *warnings(groups)))


def partition(workdirs: Sequence[Path], within: Sequence[str]) -> dict[str, list[Path]]:
    """Work directories by the values that some fields have in their configs, "" for all where there are no fields.

    For methods that are compared under several conditions, each on its own. Raises UserError as `compare`.
    """
    parts: dict[str, list[Path]] = {}
    for path in workdirs:
        own = fields(saved_config(path))
        check_names(within, own)
        parts.setdefault(", ".join(f"{name} = {_text(own[name])}" for name in within), []).append(path)
    return parts


def load(workdir: Path) -> FinishedRun:
    """Read a finished run; UserError where a file of it is missing, foreign or damaged."""
    config = saved_config(workdir)
    model, predictions = model_file.load(workdir), predictions_file.load(workdir)
    if len(model.class_names) != predictions.states.shape[1]:
        raise UserError(f"{workdir} has a model.json and a predictions-test.npz of other classes; it holds two runs.")
    try:
        check_values(config)
    except UserError as error:
        raise UserError(f"{workdir / CONFIG_FILE} is damaged: {error}") from None
    own = fields(config)
    lines = map(json.loads, metrics_log.kept_lines(workdir / metrics_log.FILE, sys.maxsize))
    passes = [sum(name.startswith("loss_pass") for name in line) for line in lines if "loss" in line]
    budget = Budget(
        predictions.step,
        predictions.step * own["data.batch_size"],
        model.record["dataset"]["training_images"],
        max(passes, default=0) or float("nan"),
    )
    return FinishedRun(workdir, own, model, predictions, budget)


def headline(run: FinishedRun) -> np.ndarray:
    """Logits float32 [n, C] of the prediction that counts; rows of NaN for images that could not be read."""
    return next(iter(run.predictions.logits.values()))


def observed_scores(logits: np.ndarray, states: np.ndarray, groups: Mapping[str, np.ndarray]) -> np.ndarray:
    """mAP in percent [4] by bootstrap.SCORES, as a run's own table has it."""
    precision = average_precision(logits, states)
    masks = [np.ones(len(precision), bool), *(groups[name] for name in SCORES[1:])]
    return np.array([bootstrap.mean_over(precision[mask], 0) for mask in masks])


def check_same(runs: Sequence[FinishedRun]) -> None:
    """Raise UserError where two runs do not have the same test images, in one order, labels and classes."""
    if not runs:
        raise UserError("There is no finished run to compare; give the work directories of some.")
    first = runs[0]
    for run in runs[1:]:
        mine, theirs = first.predictions, run.predictions
        what = ""
        if not np.array_equal(mine.ids, theirs.ids):
            what = "other test images, or the same in another order"
        elif first.model.class_names != run.model.class_names:
            what = "other classes"
        elif not np.array_equal(mine.states, theirs.states):
            what = "other labels of their test images"
        if what:
            raise UserError(f"The runs {first.workdir} and {run.workdir} have {what}; compare runs of one test split.")


def regrouped(runs: Sequence[FinishedRun]) -> list[str]:
    """A note where training labels of runs put a class into different groups, as before and after corrections."""
    first = runs[0]
    others = [
        run for run in runs if any((run.model.groups[name] != first.model.groups[name]).any() for name in SCORES[1:])
    ]
    if not others:
        return []
    own, other = first.workdir, others[0].workdir
    return [f"head, medium and tail classes are those of {own}; the training labels of {other} make others"]


def group(runs: Sequence[FinishedRun], by: Sequence[str]) -> tuple[dict[str, list[FinishedRun]], list[str], list[str]]:
    """Runs by label, the fields whose values make the labels, and notes on what else differs."""
    plain = [comparable(run) for run in runs]
    known = list(dict.fromkeys([*settings(), *(name for one in plain for name in one)]))
    check_names(by, runs[0].fields)
    varying = [name for name in known if len({_text(one.get(name)) for one in plain}) > 1 and name not in SEEDS]
    names = list(by) or _telling(plain, sorted(varying, key=lambda name: name != "method.name") or ["method.name"])
    grouped: dict[str, list[FinishedRun]] = {}
    for run, one in zip(runs, plain, strict=True):
        grouped.setdefault(", ".join(_text(one.get(name)) for name in names), []).append(run)
    rest = [name for name in varying if name not in names]
    note = (
        f"runs of one group differ in {', '.join(rest)} too" if by else f"the groups also differ in {', '.join(rest)}"
    )
    return grouped, names, [note] if rest else []


def comparable(run: FinishedRun) -> dict[str, Any]:
    """The fields that a result depends on; candidate sets of a file by how they were made, whatever their seed."""
    free = {name for name, setting in settings().items() if setting.free}
    found = {name: value for name, value in run.fields.items() if name not in free}
    origin = run.model.record.get("candidates", {})
    if found.get("data.candidates") and origin:
        found["data.candidates"] = f"{origin.get('kind')} {json.dumps(origin.get('parameters'), sort_keys=True)}"
    return found


def _telling(plain: Sequence[dict[str, Any]], varying: Sequence[str]) -> list[str]:
    """As few of the varying fields, in their order, as tell all groups apart."""

    def groups(names: Sequence[str]) -> int:
        return len({tuple(_text(one.get(name)) for name in names) for one in plain})

    names = [varying[0]]
    for name in varying[1:]:
        if groups([*names, name]) > groups(names):
            names.append(name)
    return names


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def compare_pairs(found: Sequence[tuple[Group, np.ndarray]]) -> tuple[GroupPair, ...]:
    """Differences between groups (with draws [b, 4]), by descending mAP: all pairs, or the best with each other one."""
    few = len(found) <= ALL_PAIRS
    chosen = [(i, j) for i in range(len(found) if few else 1) for j in range(i + 1, len(found))]
    tested = []
    for i, j in chosen:
        (first, draws), (second, others) = found[i], found[j]
        gaps = first.scores.mean(0) - second.scores.mean(0)
        tested.append([bootstrap.difference(float(gap), (draws - others)[:, k]) for k, gap in enumerate(gaps)])
    corrected = np.reshape(bootstrap.holm([one.p for four in tested for one in four]), (-1, len(SCORES)))
    return tuple(
        GroupPair(found[i][0].label, found[j][0].label, tuple(four), tuple(p.tolist()))
        for (i, j), four, p in zip(chosen, tested, corrected, strict=True)
    )


def warnings(groups: Sequence[Group]) -> list[str]:
    """What a reader of the tables must know of seeds and budgets."""
    few = [one.label for one in groups if len(one.runs) < FEW]
    notes = [f"fewer than {FEW} seeds, so that their spread says little: {'; '.join(few)}"] if few else []
    seeds = [sorted((run.fields["seed"], run.fields["data.candidate_seed"]) for run in one.runs) for one in groups]
    if any(one != seeds[0] for one in seeds[1:]):
        notes.append("the groups were trained with other seeds, so that chance sets them further apart")
    if any(len(set(one)) < len(one) for one in seeds):
        notes.append("a group has two runs with one seed, which count as two")
    spent = [run.budget.images * run.budget.passes for one in groups for run in one.runs]
    if not max(spent) <= min(spent) * _SAME_BUDGET:
        notes.append("budgets differ, or are not known")
    return notes
