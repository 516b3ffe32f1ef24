"""The text files of the appendix: lists of images (a path, then class indices) and of classes (a name, its index).

Lines may end in CRLF and have blanks and tabs at their ends; empty lines count for nothing, a last line needs no end.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from etils import epath

from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.locations import read_bytes, unwritable
from ltpml_jax.errors import UserError

_IMAGE = re.compile(r"(\S.*?)((?:\s+\d+)*)")
_CLASS = re.compile(r"(\S.*?)\s+(\d+)")
_SUFFIXES = (".jpg", ".jpeg", ".png")


class ImageList(NamedTuple):
    """N images: paths as listed, with slashes; states int8 [N, C]; how many of them have no class."""

    paths: list[str]
    states: np.ndarray
    without_label: int


def read_classes(path: epath.Path) -> tuple[str, ...]:
    """The C class names of a file of `name index` lines, by index; names may hold blanks.

    Raises:
        UserError: the file cannot be read, or the indices are not 0 to C-1, each once; file and line are named.
    """
    names: dict[int, str] = {}
    for number, line in _lines(path):
        found = _CLASS.fullmatch(line)
        if not found:
            raise UserError(f"{path}, line {number}: {line!r} is not a class name and its index; write `name index`.")
        name, index = " ".join(found[1].split()), int(found[2])
        if index in names or name in names.values():
            raise UserError(
                f"{path}, line {number}: the class {name!r} or its index {index} is listed twice; list it once."
            )
        names[index] = name
    if sorted(names) != list(range(len(names))):
        gap = min(set(range(len(names))) - set(names))
        raise UserError(f"{path} has no class {gap}; indices run from 0 to {len(names) - 1}, one a class.")
    return tuple(names[index] for index in range(len(names)))


def read_images(path: epath.Path, classes: int) -> ImageList:
    """The images of a file of `path index index ...` lines; an image may have no class.

    Raises:
        UserError: the file cannot be read, a line is not of that form, an index is not below `classes`, or an image
            is listed twice; file and line are named.
    """
    first: dict[str, int] = {}
    rows: list[list[int]] = []
    for number, line in _lines(path):
        found = _IMAGE.fullmatch(line)
        if not found or not found[1].lower().endswith(_SUFFIXES):
            raise UserError(f"{path}, line {number}: {line!r} is not an image path and class indices; fix that line.")
        image, row = found[1].replace("\\", "/"), [int(index) for index in found[2].split()]
        if unwritable(image):
            raise UserError(f"{path}, line {number}: {image!r} holds {unwritable(image)}; correct it.")
        if row and max(row) >= classes:
            raise UserError(
                f"{path}, line {number}: there is no class {max(row)}; the label file has {classes}, from 0 on."
            )
        if image in first:
            raise UserError(f"{path}, line {number}: {image} is on line {first[image]} already; list it once.")
        first[image] = number
        rows.append(row)
    states = np.full((len(rows), classes), LabelState.NEGATIVE, np.int8)
    for state, row in zip(states, rows, strict=True):
        state[row] = LabelState.POSITIVE
    return ImageList(list(first), states, sum(not row for row in rows))


def _lines(path: epath.Path) -> Iterator[tuple[int, str]]:
    """Number and content of each line that is not empty; at least one."""
    try:
        data = read_bytes(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {number}: not UTF-8; save the file in that encoding.") from None
    if not text.strip():
        raise UserError(f"{path} is empty; copy it again.")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.strip()
