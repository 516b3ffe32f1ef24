"""Columns of lists of class names, one for each label state, of a table of people's own labels."""

import numpy as np

from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.readers import common
from ltpml_jax.data.readers.text_table import SEPARATOR, Table
from ltpml_jax.errors import UserError

COLUMNS = {
    "labels": LabelState.POSITIVE,
    "positive": LabelState.POSITIVE,
    "candidates": LabelState.CANDIDATE,
    "negative": LabelState.NEGATIVE,
    "unknown": LabelState.UNKNOWN,
}
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
    fill(table, class_names, states, unlisted)
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


def fill(table: Table, class_names: tuple[str, ...], states: np.ndarray, unlisted: str | None) -> None:
    """Writes what `unlisted` says to entries that are not stated; UserError where it says nothing of them."""
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
