"""Own labels from a CSV or Parquet file: one row an image, or one row an image and annotator.

Columns, by name:

* `path`: the image, relative to the folder of images or absolute; required.
* `id` (default: the path), `split` (train, validation, test; default: all train), `annotator`: optional.
* Either one column a class, of 1 (positive), 0 (negative), ? (candidate) or nothing (unknown); classes in this order.
* Or lists of class names, under `labels` or `positive`, `candidates`, `negative`, `unknown`; in CSV, semicolons
  separate them. Classes are all names found, sorted. A class that a row does not list has no state: the caller
  has to choose between negative and unknown.

Rows of one path by different annotators become one image: a class is positive (negative) if all who judged it agree
on that, unknown if no annotator judged it, and a candidate otherwise.
"""

import numpy as np
import pyarrow as pa

from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.readers import common, text_table
from ltpml_jax.data.readers.text_table import SEPARATOR, Table
from ltpml_jax.errors import UserError

_ABOUT_IMAGE = ("path", "id", "split", "annotator")
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


def read_table(path: str, images: str, unlisted: str | None = None) -> Listing:
    """The images and labels of the file `path`, as above; relative image paths lie below `images`.

    `unlisted`, "negative" or "unknown", is what it means that a row with lists leaves a class out.

    Raises:
        UserError: the file cannot be read, or a column, row or value of it is wrong; the message names it.
    """
    table = text_table.read(path)
    if "path" not in table.columns:
        raise UserError(f"{path} has no column 'path' but {', '.join(map(repr, table.columns))}; add one.")
    if not len(table):
        raise UserError(f"{path} lists no image; it needs a row for each.")
    class_names, states, notes = _labels(table, unlisted)
    return common.checked(Listing(class_names, _splits(table, images, states), notes=notes), path)


def _labels(table: Table, unlisted: str | None) -> tuple[tuple[str, ...], np.ndarray, list[str]]:
    """Class names, states int8 [N, C] of the rows, and notes."""
    others = [name for name in table.columns if name not in _ABOUT_IMAGE]
    strange = [name for name in others if name not in COLUMNS]
    if len(strange) < len(others):  # columns of lists
        for name in strange:
            near = common.nearest(name, [*COLUMNS, *_ABOUT_IMAGE])
            raise UserError(
                f"{table.path} has lists of classes and a column {name!r}; call it {near!r} or take it out."
            )
        return read_lists(table, unlisted)
    if unlisted is not None:
        raise UserError(f"{table.path} has one column a class, where nothing means unknown; leave --unlisted out.")
    states = np.empty((len(table), len(others)), np.int8)
    for number, name in enumerate(others):
        states[:, number] = _class_column(table, name)
    return tuple(others), states, []


def _class_column(table: Table, name: str) -> np.ndarray:
    """States int8 [N] of a column of 1, 0, ? and nothing."""
    cells = table.text(name).dictionary_encode()
    values = cells.dictionary.to_pylist()
    wrong = np.array([value.lower() not in SPELLINGS for value in values])[cells.indices]
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"{table.place(row)}: {cells[row].as_py()!r} in the column {name!r} is none of 1 (positive), 0 (negative), "
            f"? (candidate) and nothing (unknown); correct it, or take the column out if it is no class."
        )
    return np.array([SPELLINGS[value.lower()] for value in values], np.int8)[cells.indices]


def _splits(table: Table, images: str, states: np.ndarray) -> dict[str, ListedSplit]:
    paths = np.array(_paths(table, images), object)
    ids = np.array(table.text("id" if "id" in table.columns else "path").to_pylist(), object)
    homes = _homes(table)
    if "annotator" in table.columns:
        first, states = _merge(table, paths, states)
        paths, ids, homes = paths[first], ids[first], homes[first]
    rows = {name: np.flatnonzero(homes == number) for number, name in enumerate(common.SPLITS)}
    return {name: ListedSplit(list(ids[kept]), list(paths[kept]), states[kept]) for name, kept in rows.items()}


def _paths(table: Table, images: str) -> list[str]:
    written = table.text("path").to_pylist()
    if "" in written:
        raise UserError(f"{table.place(written.index(''))} names no image; fill in the column 'path'.")
    return [common.image_path(images, path) for path in written]


def _homes(table: Table) -> np.ndarray:
    """For each row, the number int64 [N] of its split in common.SPLITS."""
    if "split" not in table.columns:
        return np.zeros(len(table), np.int64)
    cells = table.text("split").dictionary_encode()
    values = cells.dictionary.to_pylist()
    wrong = np.array([value not in common.SPLITS for value in values])[cells.indices]
    if wrong.any():
        row, value = int(wrong.argmax()), cells[int(wrong.argmax())].as_py()
        near = common.nearest(value, common.SPLITS)
        raise UserError(
            f"{table.place(row)} is in the split {value!r}; call it one of {', '.join(common.SPLITS)} ({near}?)."
        )
    return np.array([common.SPLITS.index(value) for value in values])[cells.indices]


def _merge(table: Table, paths: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row int64 [M] of each image, in the file's order, and the labels of its annotators, int8 [M, C]."""
    images = pa.array(paths).dictionary_encode().indices.to_numpy().astype(np.int64)
    _, first = np.unique(images, return_index=True)
    for column in ("id", "split"):
        if column in table.columns:
            codes = _codes(table, column)
            differs = codes != codes[first][images]
            if differs.any():
                place = table.place(int(differs.argmax()))
                raise UserError(f"{place} has another {column} than an earlier row of its image; make them equal.")
    who = _codes(table, "annotator")
    pairs = images * (who.max() + 1) + who
    _, once = np.unique(pairs, return_index=True)
    if len(once) < len(pairs):
        row = int(np.setdiff1d(np.arange(len(pairs)), once)[0])
        raise UserError(f"{table.place(row)} is the second by its annotator for {paths[row]}; keep one.")
    return first, merge_annotators(images, states)


def _codes(table: Table, column: str) -> np.ndarray:
    """One number int64 [N] for each different text of a column."""
    return table.text(column).dictionary_encode().indices.to_numpy().astype(np.int64)


# Evidence as bits, so that "or" joins judgements: 1 for absent, 2 for present.
_EVIDENCE = np.empty(4, np.uint8)
_EVIDENCE[[LabelState.UNKNOWN, LabelState.NEGATIVE, LabelState.POSITIVE, LabelState.CANDIDATE]] = 0, 1, 2, 3
_STATE = np.argsort(_EVIDENCE).astype(np.int8)


def merge_annotators(images: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Labels int8 [M, C] of M images from judgements int8 [N, C] of images int [N], each of 0 .. M-1 at least once.

    A class is positive (negative) if all who judged it agree on that, unknown if none did, and a candidate
    otherwise: where two disagree, or one was not sure. The order of the judgements makes no difference.
    """
    order = np.argsort(images, kind="stable")
    starts = np.searchsorted(images[order], np.arange(images.max() + 1))
    return _STATE[np.bitwise_or.reduceat(_EVIDENCE[states[order]], starts, axis=0)]


COLUMNS = {
    "labels": LabelState.POSITIVE,
    "positive": LabelState.POSITIVE,
    "candidates": LabelState.CANDIDATE,
    "negative": LabelState.NEGATIVE,
    "unknown": LabelState.UNKNOWN,
}
RESERVED = (*_ABOUT_IMAGE, *COLUMNS)  # names that a column of one class cannot have
# Columns of lists by name: row and code int64 [E] of each entry, and the class name of each code.
Entries = dict[str, tuple[np.ndarray, np.ndarray, list[str]]]


def read_lists(table: Table, unlisted: str | None) -> tuple[tuple[str, ...], np.ndarray, list[str]]:
    """Sorted class names, states int8 [N, C] and notes of a table with some of COLUMNS.

    `unlisted`, "negative" or "unknown", is the state of the classes that a row does not list; needed if there are any.

    Raises:
        UserError: a list holds something else than text, a row lists a class in two columns of different meaning, or
            `unlisted` is needed and missing.
    """
    entries = {name: _entries(table, name) for name in COLUMNS if name in table.columns}
    class_names = tuple(sorted({name for _, _, names in entries.values() for name in names} - {""}))
    states = np.full((len(table), len(class_names)), common.NOT_STATED, np.int8)
    numbers = {name: number for number, name in enumerate(class_names)}
    for column, (rows, codes, names) in entries.items():
        classes = np.array([numbers.get(name, -1) for name in names], np.int64)[codes]
        named = classes >= 0  # the others are empty, as at the end of "cat;dog;"
        _mark(table, class_names, states, rows[named], classes[named], column)
    _fill(table, class_names, states, unlisted)
    return class_names, states, _notes(entries)


def _entries(table: Table, column: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    lists = table.lists(column)
    entries = lists.flatten().dictionary_encode()
    names = [common.class_name(name) for name in entries.dictionary.to_pylist()]
    return lists.value_parent_indices().to_numpy(), entries.indices.to_numpy(), names


def _mark(
    table: Table, class_names: tuple[str, ...], states: np.ndarray, rows: np.ndarray, classes: np.ndarray, column: str
) -> None:
    """Writes the state of `column` to the entries (rows [E], classes [E]) of `states`."""
    clash = common.mark(states, rows, classes, COLUMNS[column])
    if clash is not None:
        row, number = int(rows[clash]), int(classes[clash])
        both = f"{LabelState(int(states[row, number])).name.lower()} and {COLUMNS[column].name.lower()}"
        raise UserError(f"{table.place(row)} says that {class_names[number]!r} is {both}; keep one.")


def _fill(table: Table, class_names: tuple[str, ...], states: np.ndarray, unlisted: str | None) -> None:
    open_ = states == common.NOT_STATED
    if unlisted is not None:
        states[open_] = common.unlisted_state(unlisted)
    elif open_.any():
        row, number = np.unravel_index(open_.argmax(), states.shape)
        raise UserError(
            f"{table.place(int(row))} does not list the class {class_names[number]!r}; choose what that means: "
            f"--unlisted=negative (every image was annotated for all classes) or --unlisted=unknown."
        )


def _notes(entries: Entries) -> list[str]:
    """A warning where names look as if something else than the separator stood between them."""
    names = [name for _, _, names in entries.values() for name in names]
    for other in "|,":
        odd = [name for name in names if other in name]
        if odd:
            seen = f"Class names that hold {other!r}, as {odd[0]!r} does: {len(odd)}."
            return [f"{seen} What separates names is {SEPARATOR!r}."]
    return []
