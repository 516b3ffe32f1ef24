"""Own labels from a CSV or Parquet file: one row an image, or one row an image and annotator.

Columns, by name:

* `path`: the image, relative to the folder of images or absolute; required. Without it, the one column that has another
  of the names in PATHS.
* `id` (default: the path), `split` (train, validation, test; default: all train), `annotator`: optional.
* Either one column a class, of 1 (positive), 0 (negative), ? (candidate) or nothing (unknown); classes in this order.
  -1 means different things in different files, and the caller has to say which.
* Or `class` and `value` (as above), a row a label; classes are all names found, sorted.
* Or lists of class names, under `labels` or `positive`, `candidates`, `negative`, `unknown`; in CSV, semicolons
  separate them. Classes are all names found, sorted. A class that a row does not list has no state: the caller
  has to choose between negative and unknown.

Rows of one path by different annotators become one image: a class is positive (negative) if all who judged it agree
on that, unknown if no annotator judged it, and a candidate otherwise.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.readers import annotators, common, text_table
from ltpml_jax.data.readers.list_columns import COLUMNS, fill, read_lists
from ltpml_jax.data.readers.text_table import Table
from ltpml_jax.errors import UserError, nearest

PATHS = ("path", "filename", "file_name", "image", "image_name", "Path", "ImageID")
_ABOUT_IMAGE = ("path", "id", "split", "annotator")
RESERVED = (*_ABOUT_IMAGE, *COLUMNS)  # names that a column of one class cannot have
SPELLINGS = {
    "1": LabelState.POSITIVE,
    "0": LabelState.NEGATIVE,
    "?": LabelState.CANDIDATE,
    "": LabelState.UNKNOWN,
    # As pandas and Arrow write a column of numbers with gaps, or of truth values.
    "1.0": LabelState.POSITIVE,
    "0.0": LabelState.NEGATIVE,
    "true": LabelState.POSITIVE,
    "false": LabelState.NEGATIVE,
}
_MINUS_ONE = ("-1", "-1.0")
# How tables that this package writes spell them.
CELLS = {LabelState.NEGATIVE: "0", LabelState.POSITIVE: "1", LabelState.CANDIDATE: "?", LabelState.UNKNOWN: ""}


def read_table(
    path: str, images: str, unlisted: str | None = None, minus_one: str | None = None, flag: str = "--csv"
) -> Listing:
    """The images and labels of the file `path` that `flag` names, as above; relative image paths lie below `images`.

    `unlisted`, "negative" or "unknown", is what it means that a row with lists leaves a class out; `minus_one`,
    "candidate", "unknown" or "negative", what -1 means, None where there is none.

    Raises:
        UserError: the file cannot be read, or a column, row or value of it is wrong; the message names it.
    """
    table, taken = with_path(text_table.read(path, flag))
    if not len(table):
        raise UserError(f"{path} lists no image; it needs a row for each.")
    if {"class", "value"} == set(table.columns) - set(_ABOUT_IMAGE):
        table, class_names, states = widened(table, unlisted, minus_one)
        notes = []
    else:
        class_names, states, notes = _labels(table, unlisted, minus_one)
    splits = _splits(table, images, states)
    return common.checked(Listing(class_names, splits, notes=[*taken, *notes]), path)


def with_path(table: Table) -> tuple[Table, list[str]]:
    """The table with its column of images called `path`, and a note where it was called otherwise.

    Raises UserError where no column, or more than one, has a name that people give it.
    """
    found = path_columns(table)
    if found == ["path"]:
        return table, []
    if not found:
        others = ", ".join(map(repr, table.columns))
        raise UserError(f"{table.path} has no column 'path' (or {', '.join(PATHS[1:])}) but {others}; add one.")
    if len(found) > 1:
        both = " and ".join(map(repr, found))
        raise UserError(f"{table.path} has the columns {both}; call the one that names the images 'path'.")
    columns = {"path" if name == found[0] else name: column for name, column in table.columns.items()}
    return replace(table, columns=columns), [f"The images are those in the column {found[0]!r}."]


def path_columns(table: Table) -> list[str]:
    """The columns that may name the images: `path` alone where it is there (others may be classes), or all of PATHS."""
    return ["path"] if "path" in table.columns else [name for name in PATHS if name in table.columns]


def _labels(table: Table, unlisted: str | None, minus_one: str | None) -> tuple[tuple[str, ...], np.ndarray, list[str]]:
    """Class names, states int8 [N, C] of the rows, and notes."""
    others = [name for name in table.columns if name not in _ABOUT_IMAGE]
    strange = [name for name in others if name not in COLUMNS]
    if len(strange) < len(others):  # columns of lists
        for name in strange:
            there = sorted(set(others) & set(COLUMNS))[0]
            free = [one for one in (*COLUMNS, *_ABOUT_IMAGE) if one not in table.columns]
            raise UserError(
                f"{table.path} has {there!r}, a column of lists of classes, and a column {name!r}; call it "
                f"{nearest(name, free)!r} or take it out (where {there!r} is a class, give that another name)."
            )
        if minus_one is not None:
            raise UserError(f"{table.path} has lists of classes, where no label is -1; leave --minus_one out.")
        return read_lists(table, unlisted)
    if {"class", "value"} <= set(others):
        odd = next(name for name in others if name not in ("class", "value"))
        raise UserError(f"{table.path} has a row a label (class and value) and a column {odd!r}; take {odd!r} out.")
    if unlisted is not None:
        raise UserError(f"{table.path} has one column a class, where nothing means unknown; leave --unlisted out.")
    states = np.empty((len(table), len(others)), np.int8)
    for number, name in enumerate(others):
        states[:, number] = _class_column(table, name, minus_one)
    return tuple(others), states, []


def _class_column(table: Table, name: str, minus_one: str | None) -> np.ndarray:
    """States int8 [N] of a column of 1, 0, ? and nothing, and of -1, where that has a meaning."""
    spellings = SPELLINGS | (dict.fromkeys(_MINUS_ONE, LabelState[minus_one.upper()]) if minus_one else {})
    cells = table.text(name).dictionary_encode()
    values = cells.dictionary.to_pylist()
    wrong = np.array([value.lower() not in spellings for value in values])[cells.indices]
    if wrong.any():
        row = int(wrong.argmax())
        if cells[row].as_py() in _MINUS_ONE:
            raise UserError(
                f"{table.place(row)}: -1 in the column {name!r} means different things in different files; choose "
                "--minus_one=candidate (uncertain, as in CheXpert), --minus_one=unknown or --minus_one=negative."
            )
        raise UserError(
            f"{table.place(row)}: {cells[row].as_py()!r} in the column {name!r} is none of 1 (positive), 0 (negative), "
            f"? (candidate) and nothing (unknown); correct it, or take the column out if it is no class."
        )
    return np.array([spellings[value.lower()] for value in values], np.int8)[cells.indices]


def widened(table: Table, unlisted: str | None, minus_one: str | None) -> tuple[Table, tuple[str, ...], np.ndarray]:
    """A table of a row an image (and annotator), the class names and states int8 [M, C], of one of a row a label.

    Raises UserError where a label is there twice with different values, a class has no name, or one is not listed for
    an image and `unlisted` does not say what that means.
    """
    values = _class_column(table, "value", minus_one)
    names = [common.class_name(name) for name in table.text("class").to_pylist()]
    if "" in names:
        raise UserError(f"{table.place(names.index(''))} names no class; fill in the column 'class'.")
    class_names = tuple(sorted(set(names)))
    numbers = {name: number for number, name in enumerate(class_names)}
    classes = np.array([numbers[name] for name in names])
    images = _codes(table, "path")
    _check_alike(table, images)
    if "annotator" in table.columns:
        who = _codes(table, "annotator")
        images = images * (who.max() + 1) + who
    _, first, rows = np.unique(images, return_index=True, return_inverse=True)
    states = np.full((len(first), len(class_names)), common.NOT_STATED, np.int8)
    for state in LabelState:
        mine = np.flatnonzero(values == state)
        clash = common.mark(states, rows[mine], classes[mine], state)
        if clash is not None:
            row = int(mine[clash])
            raise UserError(f"{table.place(row)} contradicts another row on {names[row]!r} in its image; keep one.")
    order = np.argsort(first)  # images in the order in which the file names them first
    wide = table.take(first[order])
    states = states[order]
    fill(wide, class_names, states, unlisted)
    return wide, class_names, states


def _splits(table: Table, images: str, states: np.ndarray) -> dict[str, ListedSplit]:
    ids = table.text("id" if "id" in table.columns else "path").to_pylist()
    whole, homes = ListedSplit(ids, _paths(table, images), states), _homes(table)
    if "annotator" in table.columns:
        first, whole = _merge(table, whole)
        homes = homes[first]
    return {name: whole.rows(np.flatnonzero(homes == number)) for number, name in enumerate(common.SPLITS)}


def _paths(table: Table, images: str) -> list[str]:
    written = table.text("path").to_pylist()
    if "" in written:
        raise UserError(f"{table.place(written.index(''))} names no image; fill in the column 'path'.")
    return common.image_paths(images, written, table.place)


def _homes(table: Table) -> np.ndarray:
    """For each row, the number int64 [N] of its split in common.SPLITS."""
    if "split" not in table.columns:
        return np.zeros(len(table), np.int64)
    cells = table.text("split").dictionary_encode()
    values = cells.dictionary.to_pylist()
    wrong = np.array([value not in common.SPLITS for value in values])[cells.indices]
    if wrong.any():
        row, value = int(wrong.argmax()), cells[int(wrong.argmax())].as_py()
        near = nearest(value, common.SPLITS)
        raise UserError(
            f"{table.place(row)} is in the split {value!r}; call it one of {', '.join(common.SPLITS)} ({near}?)."
        )
    return np.array([common.SPLITS.index(value) for value in values])[cells.indices]


def _merge(table: Table, judged: ListedSplit) -> tuple[np.ndarray, ListedSplit]:
    """The first row int64 [M] of each image, in the file's order, and the images with what their annotators say."""
    images = pa.array(judged.paths).dictionary_encode().indices.to_numpy().astype(np.int64)
    _, first = np.unique(images, return_index=True)
    _check_alike(table, images)
    who = _codes(table, "annotator")
    pairs = images * (who.max() + 1) + who
    _, once = np.unique(pairs, return_index=True)
    if len(once) < len(pairs):
        row = int(np.setdiff1d(np.arange(len(pairs)), once)[0])
        raise UserError(f"{table.place(row)} is the second by its annotator for {judged.paths[row]}; keep one.")
    merged, found = annotators.merge(images, judged.states), annotators.disagreements(images, judged.states)
    return first, replace(judged.rows(first), states=merged, disagreements=found)


def _check_alike(table: Table, images: np.ndarray) -> None:
    """UserError where rows of one image, by number int64 [N], differ in id or split."""
    _, first = np.unique(images, return_index=True)
    for column in ("id", "split"):
        if column in table.columns:
            codes = _codes(table, column)
            differs = codes != codes[first][images]
            if differs.any():
                place = table.place(int(differs.argmax()))
                raise UserError(f"{place} has another {column} than an earlier row of its image; make them equal.")


def _codes(table: Table, column: str) -> np.ndarray:
    """One number int64 [N] for each different text of a column."""
    return table.text(column).dictionary_encode().indices.to_numpy().astype(np.int64)
