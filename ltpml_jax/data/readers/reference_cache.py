"""Imports the candidate sets that the reference code cached: an .npy file with a pickled dict."""

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ltpml_jax.data.labels import LabelState
from ltpml_jax.errors import UserError
from ltpml_jax.runtime import unpickle
from ltpml_jax.runtime.files import check_regular

_KEY = "partial_labels"


def read_table(path: str | Path) -> np.ndarray:
    """Candidates and negatives, int8 [N, C] of labels.LabelState in the file's own order of rows.

    Args:
        path: an .npy file that holds a dict with `partial_labels` [N, 1, C] or [N, C] of 0 and 1.

    Raises:
        UserError: `unpickle.load_npy` refuses the file, or it holds something else.
    """
    held = unpickle.load_npy(path)
    if not (isinstance(held, dict) and _KEY in held):
        raise UserError(
            f"{path} holds no dict with {_KEY!r}; name the file in which the reference keeps its candidates."
        )
    table = _array(held[_KEY])
    if table.ndim == 3 and table.shape[1] == 1:
        table = table[:, 0]
    if table.ndim != 2 or table.dtype.kind not in "biuf" or not np.isin(table, (0, 1)).all():
        raise UserError(
            f"{_KEY!r} in {path} is {table.dtype} of shape {table.shape}; it must be 0s and 1s of shape [N, 1, C]."
        )
    return np.where(table == 1, LabelState.CANDIDATE, LabelState.NEGATIVE).astype(np.int8)


def reorder(table: np.ndarray, listed: str | Path, ids: list[str]) -> np.ndarray:
    """Rows of `table` [N, C], which follow a list of images, in the order of the ids of a dataset.

    Args:
        table: one row for each line.
        listed: a file with an image's path at the beginning of each line; what follows a blank is not read.
        ids: images are matched by file names without folder and ending.

    Raises:
        UserError: the list cannot be read, names an image twice, or is not one of the same images.
    """
    names = _listed(listed)
    if len(names) != len(table):
        raise UserError(
            f"{listed} names {len(names)} images, the candidate sets have {len(table)} rows; name their list."
        )
    rows = {name: row for row, name in enumerate(names)}
    if len(rows) < len(names):
        twice = next(name for row, name in enumerate(names) if rows[name] != row)
        raise UserError(f"{listed} names {twice!r} twice; each image may have one row only.")
    wanted = [_stem(name) for name in ids]
    absent = [name for name in wanted if name not in rows]
    if absent:
        raise UserError(f"{listed} lacks {len(absent)} images of the dataset, first {absent[0]!r}; name its own list.")
    return table[[rows[name] for name in wanted]]


def _listed(path: str | Path) -> list[str]:
    try:
        check_regular(path)
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise UserError(f"The list {path} cannot be read ({error}); give the path of a text file.") from None
    return [_stem(line.split()[0]) for line in lines if line.strip()]


def _stem(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).stem


def _array(value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError:  # lists of different lengths
        return np.empty(0, object)
