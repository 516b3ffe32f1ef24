"""Pseudo-Label between two trainings: observed labels, with the classes added that a trained network is sure of.

Where an observed label is 0 (negative or unknown) and the network's probability is above tau, the class becomes
positive; every other label stays as it is, so that no positive is lost. One round, hard labels (Lee, ICML workshop
2013, as the baseline of papers on missing labels).
"""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.listing import Listing
from ltpml_jax.data.readers import common, tables
from ltpml_jax.data.readers.text_table import SEPARATOR
from ltpml_jax.errors import UserError
from ltpml_jax.runtime.files import replacing

ENDINGS = (".csv", ".parquet")
# Columns of lists that `ltpml prepare --csv` reads; what is in none of them is unknown.
LISTS = {
    "positive": LabelState.POSITIVE,
    "candidates": LabelState.CANDIDATE,
    "negative": LabelState.NEGATIVE,
}


class Observed(NamedTuple):
    """Images of all splits: ids, splits and places text [N]; states int8 [N, C] by the model's classes."""

    ids: list[str]
    splits: list[str]
    places: list[str]
    states: np.ndarray


def observed(file: Path, images: str, unlisted: str | None, class_names: tuple[str, ...]) -> Observed:
    """The labels of a table that `prepare --csv` reads, its relative paths below `images` (or beside it where "").

    Raises UserError where it cannot be read, or has other classes than the model.
    """
    listing = tables.read_table(str(file), images or str(file.parent), unlisted)
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


def fill(states: np.ndarray, scores: np.ndarray, tau: float) -> np.ndarray:
    """Labels int8 [n, C]: positive where the state is negative or unknown and the score in [0, 1] is above tau."""
    assumed_negative = (states == LabelState.NEGATIVE) | (states == LabelState.UNKNOWN)
    return np.where(assumed_negative & (scores > tau), LabelState.POSITIVE, states).astype(np.int8)


def check(path: Path, class_names: tuple[str, ...]) -> None:
    """Raise UserError where such a table cannot be written to `path`, or would not be read as it was meant."""
    if path.suffix not in ENDINGS:
        raise UserError(f"--out is {path}; end it in one of {', '.join(ENDINGS)}, as `ltpml prepare --csv` reads them.")
    if path.exists():
        raise UserError(f"The file {path} exists; give another --out.")
    cut = SEPARATOR if path.suffix == ".csv" else None
    odd = [name for name in class_names if common.class_name(name) != name or (cut and cut in name)]
    if odd:
        raise UserError(
            f"The class {odd[0]!r} cannot stand in a list of {path}; end --out in .parquet where it holds "
            f"{SEPARATOR!r}, and name classes without line breaks and double blanks."
        )


def write(path: Path, found: Observed, class_names: tuple[str, ...]) -> None:
    """Write the table: `path`, `id`, `split`, and lists `positive`, `candidates`, `negative`; whole or not at all."""
    texts = {"path": found.places, "id": found.ids, "split": found.splits}
    lists = {
        name: [[class_names[j] for j in np.flatnonzero(row == state)] for row in found.states]
        for name, state in LISTS.items()
    }
    try:
        with replacing(path) as scratch:
            if path.suffix == ".csv":
                with scratch.open("w", encoding="utf-8", newline="") as file:
                    joined = [map(SEPARATOR.join, column) for column in lists.values()]
                    writer = csv.writer(file, lineterminator="\n")
                    writer.writerow([*texts, *lists])
                    writer.writerows(zip(*texts.values(), *joined, strict=True))
            else:
                kind = pa.list_(pa.string())
                arrays = {name: pa.array(column, kind) for name, column in lists.items()}
                pq.write_table(pa.table(texts | arrays), scratch)
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"The file {path} cannot be written ({reason}); give another --out.") from None
