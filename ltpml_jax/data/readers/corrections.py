"""Corrections of labels: a CSV or Parquet file of id, class, state, was, note, as an audit's page makes it.

`state` is what a label shall be and `was` what it was when that was decided: 1 (positive), 0 (negative), ? (candidate)
or nothing (unknown), or those words. A column `split` says where the image is; without it, in train. Notes are kept.

A correction is a change of `was` to `state`. Where the label has that state already there is nothing to change, so
that applying a file twice is the same as once; where it is neither, the decision was made on another dataset, and the
file is refused as a whole.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.readers import common, tables, text_table
from ltpml_jax.data.readers.text_table import Table
from ltpml_jax.errors import UserError, nearest

NEEDED, OPTIONAL = ("id", "class", "state", "was"), ("note", "split")
_SPELLINGS = tables.SPELLINGS | {state.name.lower(): state for state in LabelState}


class Correction(NamedTuple):
    """One row: the image's split and id, the class, both states, the note, and where it stands in the file."""

    split: str
    id: str
    class_: str
    was: LabelState
    state: LabelState
    note: str
    place: int


class Changes(NamedTuple):
    """What a file does to a dataset: states int8 [N, C] by split after it; what changed; rows that changed nothing."""

    states: dict[str, np.ndarray]
    changed: list[Correction]
    already: int


def read(path: str) -> tuple[Table, list[Correction]]:
    """The rows of a file; the table is for messages.

    Raises UserError where it cannot be read, a column is missing or strange, or a state is none.
    """
    table = text_table.read(path, "--corrections")
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise UserError(f"{path} has no column {missing[0]!r}; corrections have {', '.join(NEEDED)} and perhaps note.")
    strange = next((name for name in table.columns if name not in (*NEEDED, *OPTIONAL)), None)
    if strange is not None:
        near = nearest(strange, (*NEEDED, *OPTIONAL))
        raise UserError(f"{path} has a column {strange!r}; call it {near!r} or take it out.")
    texts = {name: table.text(name).to_pylist() for name in table.columns}
    blank = [""] * len(table)
    rows = zip(
        texts.get("split", blank), texts["id"], texts["class"], texts["was"], texts["state"], texts.get("note", blank),
        strict=True,
    )  # fmt: skip
    return table, [_row(table, number, *row) for number, row in enumerate(rows)]


def _row(table: Table, number: int, split: str, id_: str, class_: str, was: str, state: str, note: str) -> Correction:
    for column, value in (("was", was), ("state", state)):
        if value.lower() not in _SPELLINGS:
            raise UserError(
                f"{table.place(number)}: {value!r} in the column {column!r} is none of 1 (positive), 0 (negative), "
                "? (candidate) and nothing (unknown); correct it."
            )
    before, after = _SPELLINGS[was.lower()], _SPELLINGS[state.lower()]
    return Correction(split or "train", id_, common.class_name(class_), before, after, note, number)


def _places(ids: Sequence[str]) -> dict[str, int]:
    """Rows by id, and by what is left of one with blanks at its ends, which cells of a file have not."""
    exact = {id_: row for row, id_ in enumerate(ids)}
    return {id_.strip(): row for id_, row in exact.items()} | exact


def apply(
    table: Table,
    rows: Sequence[Correction],
    name: str,
    class_names: Sequence[str],
    ids: Mapping[str, Sequence[str]],
    states: Mapping[str, np.ndarray],
) -> Changes:
    """The changes that rows make to the dataset `name`, whose ids and states int8 [N, C] are given by split.

    Raises UserError where the file is of another dataset, contradicts itself, or `was` is not what the dataset says.
    """
    places = {split: _places(known) for split, known in ids.items()}
    _check_splits(table, rows, name, places)
    if rows and not any(one.id in places[one.split] for one in rows):
        raise UserError(f"None of the ids in {table.path} is one of {name}; the file belongs to another dataset.")
    classes = {common.class_name(class_): number for number, class_ in enumerate(class_names)}
    found = {split: np.array(values, np.int8) for split, values in states.items()}
    decided: dict[tuple[str, str, str], Correction] = {}
    changed = []
    for one in rows:
        _check_row(table, one, name, places, classes)
        _check_earlier(table, one, decided.setdefault((one.split, one.id, one.class_), one))
        place = places[one.split][one.id], classes[one.class_]
        now = LabelState(int(states[one.split][place]))  # and not as an earlier row has made it
        if now not in (one.state, one.was):
            raise UserError(
                f"{table.place(one.place)}: {one.class_!r} of {one.id!r} is {now.name.lower()} in {name}, not "
                f"{one.was.name.lower()}; correct the dataset that was audited."
            )
        if found[one.split][place] != one.state:
            found[one.split][place] = one.state
            changed.append(one)
    return Changes(found, changed, len(rows) - len(changed))


def _check_earlier(table: Table, one: Correction, earlier: Correction) -> None:
    """UserError where two rows on one label decide otherwise."""
    if earlier.state != one.state:
        raise UserError(
            f"{table.place(one.place)} decides otherwise on {one.class_!r} of {one.id!r} than "
            f"{table.place(earlier.place)}; keep one."
        )


def _check_splits(table: Table, rows: Sequence[Correction], name: str, splits: Mapping[str, Any]) -> None:
    """UserError for the first row whose split is not in the dataset."""
    for one in rows:
        if one.split not in splits:
            raise UserError(f"{table.place(one.place)}: {name} has no split {one.split!r}; it has {', '.join(splits)}.")


def _check_row(
    table: Table, one: Correction, name: str, places: Mapping[str, Mapping[str, int]], classes: Mapping[str, int]
) -> None:
    """UserError where a row's image or class is not in the dataset."""
    if one.id not in places[one.split]:
        near = nearest(one.id, places[one.split])
        raise UserError(
            f"{table.place(one.place)}: {name} has no image {one.id!r} in {one.split}; did you mean {near!r}?"
        )
    if one.class_ not in classes:
        near = nearest(one.class_, classes)
        raise UserError(f"{table.place(one.place)}: {name} has no class {one.class_!r}; did you mean {near!r}?")
