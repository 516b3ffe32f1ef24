"""Make a dataset from images and labels: `ltpml prepare --dataset=NAME ... --images=DIR [--out=DIR]`.

Published datasets: --dataset=voc_mlt|coco_mlt|nuswide_lt --appendix=DIR, the folder of the lists and pickles.
Own labels: --csv=FILE (CSV or Parquet), --coco=FILE (or train=FILE,test=FILE), --voc=FOLDER or
--label_studio=FILE.
Corrected ones: --from=NAME --corrections=FILE, a dataset in OUT and what an audit's page downloads.
"""

import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Any

from absl import flags

from ltpml_jax.cli import DATA_DIR, Command
from ltpml_jax.errors import UserError
from ltpml_jax.runtime import preemption

if TYPE_CHECKING:
    from ltpml_jax.data.listing import Listing
    from ltpml_jax.data.writing.writer import Written

SOURCES = ("appendix", "csv", "coco", "voc", "label_studio", "from")  # of labels
# What the dataset depends on, for its metadata.
MATTERS = (
    *SOURCES[:-1],
    "images",
    "unlisted",
    "minus_one",
    "difficult",
    "test_share",
    "validation_share",
    "seed",
    "skip_bad",
)


def define(values: flags.FlagValues) -> None:
    """The command's flags."""
    flags.DEFINE_string("dataset", "", "Name of the dataset; config.data.name of the runs on it.", values)
    flags.DEFINE_string("appendix", "", "Folder of the published lists and pickles.", values)
    flags.DEFINE_string("csv", "", "Own labels: a CSV or Parquet file.", values)
    flags.DEFINE_string("coco", "", "Own labels: COCO json, FILE or SPLIT=FILE,SPLIT=FILE,...", values)
    flags.DEFINE_string("voc", "", "Own labels: a folder with Annotations/*.xml.", values)
    flags.DEFINE_string("label_studio", "", "Own labels: an export of Label Studio, JSON or JSON_MIN.", values)
    flags.DEFINE_string("from", "", "Corrected labels: the dataset in --out that they correct.", values)
    flags.DEFINE_string("corrections", "", "Corrected labels: a file of id, class, state, was, note.", values)
    flags.DEFINE_string("images", "", "Folder of the images; with --voc it may be left out.", values)
    flags.DEFINE_string("out", DATA_DIR, "Where to write; config.data.dir of the runs on it.", values)
    unlisted = "Own labels: the meaning of a class that an image's row leaves out."
    flags.DEFINE_enum("unlisted", None, ["negative", "unknown"], unlisted, values)
    minus_one = "--csv: what -1 means; a file that has it needs this."
    flags.DEFINE_enum("minus_one", None, ["candidate", "unknown", "negative"], minus_one, values)
    test = "Share of training images to set apart for test, stratified."
    flags.DEFINE_float("test_share", 0.0, test, flag_values=values)
    flags.DEFINE_float("validation_share", 0.0, "Share to set apart for validation, stratified.", flag_values=values)
    flags.DEFINE_integer("seed", 0, "Seed of these shares.", 0, flag_values=values)
    states = ["negative", "positive", "candidate", "unknown"]
    difficult = "--voc: a class whose objects are all difficult."
    flags.DEFINE_enum("difficult", "candidate", states, difficult, values)
    skip = "Leave out images that are missing or corrupt; the metadata names them."
    flags.DEFINE_bool("skip_bad", False, skip, flag_values=values)
    flags.DEFINE_bool("overwrite", False, "Replace the dataset of that name.", flag_values=values)
    jobs = "Processes; the dataset is the same for any number."
    flags.DEFINE_integer("jobs", os.cpu_count() or 1, jobs, 1, flag_values=values)


def problems(values: Any) -> list[str]:
    """A sentence where not exactly one source of labels is given, or the images are missing."""
    given = [name for name in SOURCES if values[name].value]
    found = []
    if len(given) != 1:
        names = " and ".join(f"--{name}" for name in given) or "none"
        found.append(
            f"Give one of --appendix, --csv, --coco, --voc, --label_studio and --from for the labels; given: {names}."
        )
    if ("from" in given) != bool(values.corrections):
        found.append("--from and --corrections go together: a dataset, and the file that corrects it.")
    apart = ("images", "unlisted", "test_share", "validation_share", "seed", "skip_bad")
    beside = next((name for name in apart if values[name].present), "")
    if "from" in given and beside:
        found.append(f"--from keeps the images and splits of its dataset; leave --{beside} out.")
    if values.minus_one and "csv" not in given:
        found.append("--minus_one is about the tables of --csv; leave it out.")
    if values["difficult"].present and "voc" not in given:
        found.append("--difficult is about the objects of --voc; leave it out.")
    if "appendix" in given and not values.images:
        found.append("--images is missing; it names the folder of the images.")
    return found


def run(values: Any) -> None:
    """Write the dataset, print the report and the command to run next.

    Raises UserError for labels and images that cannot be read, a name that is taken, and after Ctrl-C.
    """
    from ltpml_jax.data.writing import metadata, recipe

    recipe.check_name(values.dataset)
    written = _corrected(values) if values["from"].value else _from_labels(values)
    if written.was_there:
        print(f"{values.dataset} was prepared before, from the same images and labels; there is nothing to do.")
    print(metadata.text(written.metadata))
    print(f"Train on it: {_next(values.dataset, values.out)}")


def _corrected(values: Any) -> "Written":
    from ltpml_jax.data.writing import corrected

    file = os.path.expanduser(values.corrections)
    return corrected.write(values.dataset, values["from"].value, file, values.out, values.overwrite)


def _from_labels(values: Any) -> "Written":
    from ltpml_jax.data.readers import stratify
    from ltpml_jax.data.writing import writer

    listing = _listing(values)
    if values.test_share or values.validation_share:
        listing = stratify.split(listing, values.test_share, values.validation_share, values.seed)
    signal.signal(signal.SIGINT, preemption.interrupt)
    try:
        return writer.write(
            values.dataset,
            listing,
            values.out,
            jobs=values.jobs,
            skip_bad=values.skip_bad,
            overwrite=values.overwrite,
            arguments={name: str(values[name].value) for name in MATTERS if values[name].value},
        )
    except KeyboardInterrupt:
        print("Interrupted; the same command resumes it.", file=sys.stderr, flush=True)
        sys.exit(128 + signal.SIGINT)


def _listing(values: Any) -> "Listing":
    """The images and labels of the one source that the flags name."""
    from etils import epath

    from ltpml_jax.data import locations
    from ltpml_jax.data.labels import LabelState
    from ltpml_jax.data.readers import appendix, coco, label_studio, tables, voc

    images = os.path.expanduser(values.images)
    locations.check_reachable(images)
    if images and not epath.Path(images).is_dir():
        raise UserError(f"There is no folder --images={values.images}; name the one that the labels' paths begin in.")
    if values.csv:
        return tables.read_table(os.path.expanduser(values.csv), images, values.unlisted, values.minus_one)
    if values.coco:
        return coco.read_coco(_coco_files(values.coco), images, values.unlisted)
    if values.label_studio:
        return label_studio.read_export(os.path.expanduser(values.label_studio), images, values.unlisted)
    if values.voc:
        folder, difficult = os.path.expanduser(values.voc), LabelState[values.difficult.upper()]
        return voc.read_voc(folder, images, values.unlisted, difficult)
    if values.dataset not in appendix.SOURCES:
        raise UserError(
            f"No appendix is known for {values.dataset!r}; --appendix goes with --dataset={'|'.join(appendix.SOURCES)}."
        )
    return appendix.read_appendix(values.dataset, values.appendix, images)


def _coco_files(text: str) -> dict[str, str]:
    """Files by split of `SPLIT=FILE,SPLIT=FILE,...`; without a split, train is meant."""
    files: dict[str, str] = {}
    for part in text.split(","):
        split, equals, file = part.partition("=")
        split, file = (split, file) if equals else ("train", part)
        if split in files:
            raise UserError(f"--coco names two files for the split {split}; write SPLIT=FILE,SPLIT=FILE.")
        files[split] = os.path.expanduser(file)
    return files


def _next(name: str, out: str) -> str:
    """The command that trains on the dataset."""
    # The configs of the published datasets take the partial rate after a colon.
    rates = {"voc_mlt": ":0.3", "coco_mlt": ":0.05", "nuswide_lt": ":0.05"}
    config = f"configs/{name}.py{rates[name]}" if name in rates else f"configs/own_data.py:{name}"
    where = "" if out == DATA_DIR else f" --config.data.dir={shlex.quote(out)}"
    return f"ltpml train --config={config}{where} --workdir=runs/{name}"


COMMAND = Command("Make a dataset from images and labels.", define, ("dataset",), run, problems, remote=True)
