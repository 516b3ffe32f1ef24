"""Make a dataset from images and labels: `python -m ltpml_jax.prepare --dataset=NAME ... --images=DIR [--out=DIR]`.

Published datasets: --dataset=voc_mlt|coco_mlt|nuswide_lt --appendix=DIR, the folder of the lists and pickles.
Own labels: --csv=FILE (CSV or Parquet), --coco=FILE (or train=FILE,test=FILE), or --voc=FOLDER.
"""

import os
import shlex

from absl import flags

from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.listing import Listing
from ltpml_jax.data.own import coco, stratify, tables, voc
from ltpml_jax.data.published import appendix
from ltpml_jax.data.writing import describe, recipe, writer
from ltpml_jax.errors import UserError

DATASET = flags.DEFINE_string("dataset", "", "Name of the dataset; config.data.name of the runs on it.")
APPENDIX = flags.DEFINE_string("appendix", "", "Folder of the published lists and pickles.")
CSV = flags.DEFINE_string("csv", "", "Own labels: a CSV or Parquet file; see ltpml_jax/data/own/tables.py.")
COCO = flags.DEFINE_string("coco", "", "Own labels: COCO json, FILE or SPLIT=FILE,SPLIT=FILE,...")
VOC = flags.DEFINE_string("voc", "", "Own labels: a folder with Annotations/*.xml.")
IMAGES = flags.DEFINE_string("images", "", "Folder of the images; with --voc it may be left out.")
OUT = flags.DEFINE_string("out", "~/tensorflow_datasets", "Where to write; config.data.dir of the runs on it.")
UNLISTED = flags.DEFINE_enum(
    "unlisted", None, ["negative", "unknown"], "Own labels: what it means that an image's row leaves a class out."
)
TEST = flags.DEFINE_float("test_share", 0.0, "Share of training images to set apart for test, stratified.")
VALIDATION = flags.DEFINE_float("validation_share", 0.0, "Share to set apart for validation, stratified.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of these shares.", 0)
DIFFICULT = flags.DEFINE_enum(
    "difficult",
    "candidate",
    [state.name.lower() for state in LabelState],
    "--voc: a class whose objects are all difficult.",
)
SKIP = flags.DEFINE_boolean("skip_bad", False, "Leave out images that are missing or corrupt; the metadata names them.")
flags.DEFINE_alias("skip-bad", "skip_bad")
OVERWRITE = flags.DEFINE_boolean("overwrite", False, "Replace the dataset of that name.")
JOBS = flags.DEFINE_integer("jobs", os.cpu_count() or 1, "Processes; the dataset is the same for any number.", 1)


def main(argv: list[str]) -> None:
    """Write the dataset, print the report and the command to run next."""
    recipe.check_name(DATASET.value)
    listing = _listing()
    if TEST.value or VALIDATION.value:
        listing = stratify.split(listing, TEST.value, VALIDATION.value, SEED.value)
    written = _write(listing)
    if written.was_there:
        print(f"{DATASET.value} was prepared before, of the same images and labels; nothing is to be done.")
    print(describe.text(written.metadata))
    print(f"Train on it: {_next()}")


def _listing() -> Listing:
    """What the one source that the flags name lists."""
    given = [flag.name for flag in (APPENDIX, CSV, COCO, VOC) if flag.value]
    if len(given) != 1:
        said = " and ".join(f"--{name}" for name in given) or "none"
        raise UserError(f"Give one of --appendix, --csv, --coco and --voc for the labels; given: {said}.")
    images = os.path.expanduser(IMAGES.value)
    if CSV.value:
        return tables.read_table(os.path.expanduser(CSV.value), images, UNLISTED.value)
    if COCO.value:
        return coco.read_coco(_coco_files(COCO.value), images, UNLISTED.value)
    if VOC.value:
        return voc.read_voc(os.path.expanduser(VOC.value), images, UNLISTED.value, LabelState[DIFFICULT.value.upper()])
    if DATASET.value not in appendix.SOURCES:
        raise UserError(
            f"No appendix is known for {DATASET.value!r}; --appendix goes with --dataset={'|'.join(appendix.SOURCES)}."
        )
    if not images:
        raise UserError("--images is missing; it names the folder of the images.")
    return appendix.read_appendix(DATASET.value, APPENDIX.value, images)


def _write(listing: Listing) -> writer.Written:
    try:
        return writer.write(
            DATASET.value,
            listing,
            OUT.value,
            jobs=JOBS.value,
            skip_bad=SKIP.value,
            overwrite=OVERWRITE.value,
            arguments=_arguments(),
        )
    except KeyboardInterrupt:
        raise UserError("Interrupted; the same command goes on from here.") from None


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


def _arguments() -> dict[str, str]:
    """What the dataset depends on, for its metadata."""
    used = (APPENDIX, CSV, COCO, VOC, IMAGES, UNLISTED, DIFFICULT, TEST, VALIDATION, SEED, SKIP)
    return {flag.name: str(flag.value) for flag in used if flag.value}


def _next() -> str:
    """The command that trains on the dataset."""
    name, where = DATASET.value, f"--config.data.dir={shlex.quote(OUT.value)}"
    # The configs of the published datasets take the partial rate after a colon.
    rates = {"voc_mlt": ":0.3", "coco_mlt": ":0.05", "nuswide_lt": ":0.05"}
    config = f"configs/{name}.py{rates[name]}" if name in rates else f"configs/own_data.py:{name}"
    return f"python -m ltpml_jax.main --config={config} {where} --workdir=runs/{name}"


if __name__ == "__main__":
    # Worker processes import this module too, and JAX behind the command line would cost each a second.
    from ltpml_jax.cli import launch

    launch(main, required=("dataset",))
