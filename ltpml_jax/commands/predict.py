"""Predict the classes of images: `ltpml predict --workdir=DIR INPUT... [--out=FILE.csv|.jsonl|.parquet]`.

An INPUT is an image, a folder of images, or a table (CSV, Parquet, JSON lines) with a column of paths. With
--pseudo_labels it is the training images, and --out becomes a table of labels that `ltpml prepare --csv` reads.
"""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from ltpml_jax.cli import Command
from ltpml_jax.errors import UserError

if TYPE_CHECKING:
    from ltpml_jax.evaluation.opened import OpenRun
    from ltpml_jax.inference.inputs import Images
    from ltpml_jax.inference.pseudo_labels import Observed
    from ltpml_jax.inference.result_lines import Result
    from ltpml_jax.inference.thresholds import Decision

PSEUDO = ("labels", "unlisted", "minus_one", "tau")  # flags that --pseudo_labels alone knows
NOTE = (
    "Images that cannot be read become rows with an error, and the exit status is 1 then. A .csv and a .jsonl grow as "
    "images are predicted, and --resume continues them; a .parquet appears at the end. docs/outputs.md has the columns."
)


def define(values: flags.FlagValues) -> None:
    """The command's flags."""
    flags.DEFINE_string("workdir", "", "Directory of the run; its dataset is not needed.", values)
    inputs = "Image, folder of images, or table of paths; may also be given without --input=."
    flags.DEFINE_multi_string("input", [], inputs, flag_values=values)
    flags.DEFINE_string("images", "", "Folder of a table's relative paths, if not that of the table.", values)
    out = "The .csv, .jsonl or .parquet file to write; without it, the highest scores are printed."
    flags.DEFINE_string("out", "", out, values)
    flags.DEFINE_bool("resume", False, "Keep the rows that --out has, and predict the rest.", flag_values=values)
    threshold = "When a class counts as present: a score, `expected`, or a JSON file {class: score}."
    flags.DEFINE_string("threshold", "expected", threshold, values)
    flags.DEFINE_integer("top", 5, "How many classes are printed, or listed in a .jsonl.", 1, flag_values=values)
    flags.DEFINE_integer("batch_size", None, "Images at a time, if not eval.batch_size.", 1, flag_values=values)
    flags.DEFINE_enum("checkpoint", "last", ["last", "best"], "Which checkpoint predicts.", values)
    flags.DEFINE_bool("strict", False, "End at the first image that cannot be read.", flag_values=values)
    pseudo = "Write the labels of training images, with those added that the run is sure of."
    flags.DEFINE_bool("pseudo_labels", False, pseudo, flag_values=values)
    flags.DEFINE_float("tau", 0.7, "--pseudo_labels: scores above it add a label.", 0, 1, flag_values=values)
    flags.DEFINE_string("labels", "", "--pseudo_labels: the observed labels, if the input is not their table.", values)
    unlisted = "--pseudo_labels: as of `ltpml prepare`."
    flags.DEFINE_enum("unlisted", None, ["negative", "unknown"], unlisted, values)
    flags.DEFINE_enum("minus_one", None, ["candidate", "unknown", "negative"], unlisted, values)


def problems(values: Any) -> list[str]:
    """A sentence for each flag that cannot be followed beside the others."""
    found = []
    if values.resume and not values.out:
        found.append("--resume continues a file; name it in --out.")
    if values.pseudo_labels and not values.out:
        found.append("--pseudo_labels writes a table; name it in --out.")
    if values.pseudo_labels and values.resume:
        found.append("--pseudo_labels writes its table whole; leave --resume out.")
    if values.pseudo_labels and not values.labels and len(values.input) > 1:
        found.append("--pseudo_labels takes one table of images and labels, or any images and --labels.")
    if not 0 <= values.tau <= 1:  # a NaN passes the flag's own bounds
        found.append(f"--tau is {values.tau}; set it to a score from 0 to 1.")
    alone = [f"--{name}" for name in PSEUDO if values[name].present and not values.pseudo_labels]
    return found + ([f"{' and '.join(alone)}: only with --pseudo_labels."] if alone else [])


def run(values: Any) -> None:
    """Write or print the predictions; exits with 1 where images cannot be read.

    Raises UserError for what cannot be opened, understood or written, and, where that is wanted, for such an image.
    """
    from ltpml_jax.inference import inputs

    if values.pseudo_labels:
        failed, count = _pseudo_labels(values)
    else:
        found = inputs.find(values.input, values.images)
        _say(found.notes)
        failed, count = _write(values, found) if values.out else _show(values, found)
    if failed:
        where = " (no row is written for them)" if values.pseudo_labels else "; their rows say why"
        _say([f"{failed} of {count} images cannot be read{where}."])
        sys.exit(1)


def _say(lines: list[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def _open(values: Any) -> "OpenRun":
    from ltpml_jax.evaluation.opened import open_run

    opened = open_run(values.workdir, checkpoint=values.checkpoint, all_devices=True)
    opened.batch_size = values.batch_size or opened.batch_size
    return opened


def _decision(values: Any, opened: "OpenRun") -> "Decision":
    from ltpml_jax.inference import thresholds

    return thresholds.decide(values.threshold, opened.class_names, opened.workdir, opened.network.step)


def _results(values: Any, opened: "OpenRun", places: dict[str, Path]) -> Iterator[list["Result"]]:
    """Results by batch, with progress on a terminal; with --strict a UserError ends them at the image."""
    from tqdm import tqdm

    from ltpml_jax.evaluation.expected_thresholds import scores
    from ltpml_jax.inference import image_stream
    from ltpml_jax.inference.result_lines import Result

    names = iter(places)
    with tqdm(total=len(places), unit=" images", disable=None if values.out else True) as bar:
        for part in image_stream.outputs(opened, list(places.values()), opened.config.data.threads):
            rows = zip(part.errors, scores(part.logits), strict=True)
            results = [Result(next(names), error, row) for error, row in rows]
            first = next((row for row, error in enumerate(part.errors) if error), None)
            if values.strict and first is not None:
                yield results[:first]
                raise UserError(part.errors[first])
            yield results
            bar.update(len(results))


def _write(values: Any, found: "Images") -> tuple[int, int]:
    """How many images could not be read, and how many there are; those of --out included."""
    from ltpml_jax.inference import result_files

    path = Path(values.out)
    result_files.check(path, (), values.resume)
    opened = _open(values)
    result_files.check(path, opened.class_names, values.resume)
    with result_files.opened(path, _decision(values, opened), values.top) as sink:
        left = {name: place for name, place in found.places.items() if name not in sink.done}
        failed = sink.failed
        for results in _results(values, opened, left):
            sink.write(results)
            failed += sum(bool(result.error) for result in results)
    kept = f", {len(sink.done)} of them from before" if sink.done else ""
    _say([f"{path}: {len(sink.done) + len(left)} images{kept}."])
    return failed, len(sink.done) + len(left)


def _show(values: Any, found: "Images") -> tuple[int, int]:
    """Print the highest scores of each image."""
    from ltpml_jax.inference import result_lines

    opened = _open(values)
    decision, failed = _decision(values, opened), 0
    for results in _results(values, opened, found.places):
        for result in results:
            failed += bool(result.error)
            present = set(decision.labels(result.scores)) if not result.error else set()
            best = result_lines.highest(decision, result, values.top) if not result.error else []
            shown = [f"{name} {score:.3f}{'*' if name in present else ''}" for name, score in best]
            print(f"{result.path}: {result.error or ', '.join(shown)}", flush=True)
    print(f"* present, by --threshold={values.threshold}")
    return failed, len(found.places)


def _observed(values: Any, opened: "OpenRun") -> "Observed":
    """The labels of the images that are meant; those that the run was tested or judged on are no training images."""
    from ltpml_jax.inference import inputs, pseudo_labels
    from ltpml_jax.runtime.files import expanded

    table = expanded(values.labels or values.input[0])
    meanings = values.unlisted, values.minus_one, "--labels" if values.labels else "--input"
    known = pseudo_labels.observed(table, values.images, opened.class_names, *meanings)
    if values.labels:
        known = pseudo_labels.chosen(known, list(inputs.find(values.input, values.images).places.values()))
    ids, notes = pseudo_labels.held_out(opened)
    _say([*notes, *pseudo_labels.apart(known, ids)])
    if "train" not in known.splits:
        raise UserError(f"None of these images in {table} is for training; give those that the run was trained on.")
    return known


def _pseudo_labels(values: Any) -> tuple[int, int]:
    """Write the observed labels of the training images with what the run is sure of; other splits stay as they are."""
    import numpy as np

    from ltpml_jax.inference import pseudo_labels

    path = Path(values.out)
    pseudo_labels.check(path, ())
    opened = _open(values)
    pseudo_labels.check(path, opened.class_names)
    known = _observed(values, opened)
    train = np.flatnonzero(np.array(known.splits) == "train")
    places = {known.places[row]: Path(known.places[row]) for row in train}
    results = [result for part in _results(values, opened, places) for result in part]
    unread = train[[bool(result.error) for result in results]]
    if len(unread) == len(train):
        raise UserError(
            f"None of the {len(train)} training images can be read ({results[0].error}); name their folder in --images."
        )
    scores = np.stack([result.scores for result in results])
    filled = pseudo_labels.fill(known.states[train], scores, values.tau)
    added = int((filled != known.states[train]).sum())
    known.states[train] = filled
    pseudo_labels.write(
        path, pseudo_labels.subset(known, np.setdiff1d(np.arange(len(known.ids)), unread)), opened.class_names
    )
    _say(
        [
            f"{path}: {added} labels added to {len(train)} training images.",
            f"Prepare them: ltpml prepare --dataset=NAME --csv={shlex.quote(str(path))}",
        ]
    )
    return len(unread), len(train)


COMMAND = Command(
    "Predict the classes of images.", define, ("workdir", "input"), run, problems, NOTE, words="input", compiles=True
)
