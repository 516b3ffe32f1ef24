"""Pseudo-Label between two trainings: observed labels, with the classes added that a trained network is sure of.

Where an observed label is 0 (negative or unknown) and the network's probability is above tau, the class becomes
positive; every other label stays as it is, so that no positive is lost. One round, hard labels (Lee, ICML workshop
2013, as the baseline of papers on missing labels).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from ltpml_jax.data import datasets
from ltpml_jax.data.digits_mlt import EMBEDDED
from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.listing import Listing
from ltpml_jax.data.readers import common, tables
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import predictions_file
from ltpml_jax.evaluation.opened import OpenRun
from ltpml_jax.runtime.files import check_new, replacing

ENDINGS = (".csv", ".parquet")


class Observed(NamedTuple):
    """Images of all splits: ids, splits and places text [N]; states int8 [N, C] by the model's classes."""

    ids: list[str]
    splits: list[str]
    places: list[str]
    states: np.ndarray


def observed(
    file: Path, images: str, class_names: tuple[str, ...], unlisted: str | None, minus_one: str | None, flag: str
) -> Observed:
    """The labels of a table that `prepare --csv` reads, its relative paths below `images` (or beside it where "").

    flag: which flag names the table; unlisted, minus_one: as of `prepare`. Raises UserError where it cannot be read, or
    has other classes than the model.
    """
    listing = tables.read_table(str(file), images or str(file.parent), unlisted, minus_one, flag)
    odd = sorted(set(listing.class_names) ^ set(class_names))
    if odd:
        whose = "the run does not know" if odd[0] in listing.class_names else "only the run knows"
        raise UserError(f"The labels {file} and the run differ in classes: {odd[0]!r} is one that {whose}.")
    return _in_order(listing, class_names)


def _in_order(listing: Listing, class_names: tuple[str, ...]) -> Observed:
    columns = [listing.class_names.index(name) for name in class_names]
    splits = listing.splits.items()
    return Observed(
        [one for _, split in splits for one in split.ids],
        [name for name, split in splits for _ in split.ids],
        [str(Path(place).absolute()) for _, split in splits for place in split.paths],
        np.concatenate([split.states for _, split in splits])[:, columns],
    )


def chosen(found: Observed, places: list[Path]) -> Observed:
    """The rows of some images, in the order of these; UserError for an image without a row."""
    rows = {place: row for row, place in enumerate(found.places)}
    wanted = [str(place.absolute()) for place in places]
    odd = next((place for place in wanted if place not in rows), None)
    if odd is not None:
        raise UserError(
            f"There are no labels of the image {odd}; name its table in --labels, and its folder in --images."
        )
    return subset(found, np.array([rows[place] for place in wanted], np.int64))


def subset(found: Observed, rows: np.ndarray) -> Observed:
    """Some rows int64 [n]."""
    ids, splits, places = ([column[row] for row in rows] for column in found[:3])
    return Observed(ids, splits, places, found.states[rows])


def held_out(run: OpenRun) -> tuple[dict[str, set[str]], list[str]]:
    """Ids of the run's images that are in no training, by split; and a note where those of one are not known."""
    found, data = {}, run.config.data
    if (run.workdir / predictions_file.FILE).exists():
        found["test"] = set(predictions_file.load(run.workdir).ids)
    if data.name in EMBEDDED:
        return found, []
    try:
        split = datasets.load(data.name, data.dir).validation
    except UserError as error:
        return found, [f"The images of a validation split, if the run had one, are not known ({error})."]
    if split is not None:
        found["validation"] = {split.records[row]["id"] for row in range(len(split.labels))}
    return found, []


def apart(found: Observed, ids: dict[str, set[str]]) -> list[str]:
    """Put training images into the splits where the run had them, by their ids; a note on each that has some."""
    notes = []
    for name, members in ids.items():
        both = enumerate(zip(found.ids, found.splits, strict=True))
        rows = [row for row, (one, split) in both if split == "train" and one in members]
        for row in rows:
            found.splits[row] = name
        notes += [f"{len(rows)} images are of the run's {name} split; they stay there."] if rows else []
    return notes


def fill(states: np.ndarray, scores: np.ndarray, tau: float) -> np.ndarray:
    """Labels int8 [n, C]: positive where the state is negative or unknown and the score in [0, 1] is above tau."""
    assumed_negative = (states == LabelState.NEGATIVE) | (states == LabelState.UNKNOWN)
    return np.where(assumed_negative & (scores > tau), LabelState.POSITIVE, states).astype(np.int8)


def check(path: Path, class_names: tuple[str, ...]) -> None:
    """Raise UserError where such a table cannot be written to `path`, or would not be read as it was meant."""
    if path.suffix not in ENDINGS:
        raise UserError(f"--out is {path}; end it in one of {', '.join(ENDINGS)}, as `ltpml prepare --csv` reads them.")
    check_new(path)
    odd = [name for name in class_names if common.class_name(name) != name or name in tables.RESERVED]
    if odd:
        reserved = ", ".join(tables.RESERVED)
        raise UserError(
            f"The class {odd[0]!r} cannot be the name of a column of labels in {path}; call it otherwise (none of "
            f"{reserved}, no line breaks, no double blanks), and train again."
        )


def write(path: Path, found: Observed, class_names: tuple[str, ...]) -> None:
    """Write the table: `path`, `id`, `split`, and a column of 1, 0, ? and nothing a class; whole or not at all."""
    cells = np.array([tables.CELLS[state] for state in LabelState], object)[found.states]
    labels = dict(zip(class_names, cells.T.tolist(), strict=True))
    table = pa.table({"path": found.places, "id": found.ids, "split": found.splits} | labels)
    try:
        with replacing(path) as scratch:
            if path.suffix == ".csv":
                pacsv.write_csv(table, scratch)
            else:
                pq.write_table(table, scratch)
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"The file {path} cannot be written ({reason}); give another --out.") from None
