"""The folder of `ltpml plot`: every plot that the runs allow, its numbers, and plots.json, which lists them."""

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from ltpml_jax import __version__
from ltpml_jax.evaluation import comparison
from ltpml_jax.evaluation.comparison import headline
from ltpml_jax.evaluation.metrics import average_precision
from ltpml_jax.evaluation.prediction import read_rows
from ltpml_jax.plotting import beliefs, canvas, confusion, curves, distribution, frequency, plotted_run, reliability
from ltpml_jax.plotting.canvas import Plot
from ltpml_jax.plotting.plotted_run import PlottedRun, Trained
from ltpml_jax.runtime import result_folder
from ltpml_jax.runtime.result_folder import Mark

log = logging.getLogger(__name__)
MARK = Mark("plots.json", "ltpml plot", "folder of plots")
_LONGEST = 60  # letters of a run's name in that of a file


def write(runs: Sequence[PlottedRun], out: Path, kind: str) -> list[str]:
    """Draw all plots of some runs and write them, png or svg, in place of earlier ones; returns the files' names.

    Raises UserError where the folder cannot be written, or is something else.
    """
    result_folder.check(out, MARK)
    left_out = reasons(runs)
    files: list[str] = []
    with result_folder.written(out, MARK) as scratch:
        for plot in plots(runs):
            files += canvas.save(plot, scratch, kind)
        content: dict[str, Any] = {"kind": MARK.kind, "ltpml_jax": __version__, "files": files, "left_out": left_out}
        content["runs"] = {one.label: str(one.run.workdir) for one in runs}
        (scratch / MARK.file).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for sentence in left_out:
        log.info(sentence)
    return files


def plots(runs: Sequence[PlottedRun]):
    """Every plot that the runs allow, one at a time, those of all runs first."""
    model = runs[0].run.model
    counts, counts_are = plotted_run.frequency(runs)
    precision = {one.label: class_precision(one) for one in runs}
    yield frequency.plot(model.class_names, model.groups, counts, counts_are, precision)
    if any(len(one.epochs["epoch"]) for one in runs):
        yield curves.plot({one.label: one.epochs for one in runs})
    for one, end in zip(runs, endings([one.label for one in runs]), strict=True):
        yield from plots_of(one, end)


def plots_of(one: PlottedRun, end: str) -> list[Plot]:
    """The plots of one run; `end` is the end of their names."""
    model, states = one.run.model, one.run.predictions.states
    logits, title = headline(one.run), f"{model.record['method']}, {one.label}"
    read = read_rows(logits)
    predicted = expit(logits[read].astype(np.float64)) > one.thresholds
    shares = plotted_run.shares(one)
    found = [
        distribution.plot(f"distribution{end}", title, model.class_names, model.groups, shares),
        reliability.plot(f"reliability{end}", title, reliability.by_group(logits[read], states[read], model.groups)),
        confusion.plot(f"confusion{end}", title, model.class_names, predicted, states[read], one.thresholds_are),
    ]
    if isinstance(one.trained, Trained) and one.trained.images:
        found.append(beliefs.plot(f"beliefs{end}", title, one.trained.images, one.trained.shared))
    return found


def class_precision(one: PlottedRun) -> np.ndarray:
    """AP in percent float64 [C] on the test images that could be read."""
    logits = headline(one.run)
    read = read_rows(logits)
    return average_precision(logits[read], one.run.predictions.states[read])


def endings(labels: Sequence[str]) -> list[str]:
    """Ends of file names, "" for a single run, else -RUN, made of letters that every file system takes."""
    if len(labels) == 1:
        return [""]
    plain = [re.sub(r"[^\w.,=+-]", "_", label)[:_LONGEST] for label in labels]
    return [f"-{name}" if plain.count(name) == 1 else f"-{name}-{i + 1}" for i, name in enumerate(plain)]


def reasons(runs: Sequence[PlottedRun]) -> list[str]:
    """A sentence on each plot, or part of one, that there is not."""
    found = [f"Of all runs' plot: {note}." for note in comparison.regrouped([one.run for one in runs])]
    found += [] if any(len(one.epochs["epoch"]) for one in runs) else ["No curves: no epoch is in metrics.jsonl."]
    for one in runs:
        recorded = one.epochs["epoch"]
        if (lacking := int(max(recorded, default=0)) - len(recorded)) > 0:
            found.append(
                f"{one.label}: the curves lack {lacking} earlier epochs, whose records metrics.jsonl has lost."
            )
        if isinstance(one.trained, str):
            found.append(f"{one.label}: no beliefs, and no counts of training labels: {one.trained}")
        elif not one.trained.images:
            found.append(f"{one.label}: no beliefs: the method keeps none, or no image has two candidates.")
    return found
