"""Label states in a file that says how they were made: no objects in it, its content under a sha256.

An .npz of three arrays: `table` int8 [N, C] of labels.LabelState, `facts` (JSON in UTF-8, as uint8) and `sha256` of the
two (32 uint8). Equal content gives equal bytes.
"""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from etils import epath

from ltpml_jax.data.labels import LabelState, blocks
from ltpml_jax.errors import UserError

_MAKE = "make it again with `ltpml corrupt`"
_LARGEST = 2**30  # bytes of the content of a file that is read


@dataclass(frozen=True)
class Manifest:
    """What a file holds: states int8 [N, C] of labels.LabelState, how they were made, and `digest` of the states."""

    table: np.ndarray
    facts: dict[str, Any]
    digest: str


def digest(table: np.ndarray) -> str:
    """The sha256 (64 hex digits) of a label table [N, C]: its shape and its entries as int8."""
    shape = ",".join(str(side) for side in table.shape)
    found = hashlib.sha256(f"int8[{shape}]".encode())
    for part in blocks(*table.shape):
        found.update(np.ascontiguousarray(table[part], dtype=np.int8).data)
    return found.hexdigest()


def save(path: epath.PathLike, table: np.ndarray, facts: dict[str, Any]) -> Manifest:
    """Writes states int8 [N, C] and facts (what JSON can hold) to `path`, which ends in .npz; returns what is in it.

    Raises:
        UserError: the name ends otherwise, or the file cannot be written.
    """
    path = epath.Path(path).expanduser()
    if path.suffix != ".npz":
        raise UserError(f"{path} does not end in .npz; give the manifest a name that does.")
    written = np.frombuffer(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode(), np.uint8)
    table = np.ascontiguousarray(table, np.int8)
    buffer = io.BytesIO()
    np.savez(buffer, table=table, facts=written, sha256=_checksum(table, written))  # dates its parts 1980
    unfinished = path.with_name(f".incomplete.{path.name}")
    try:
        unfinished.write_bytes(buffer.getvalue())
        unfinished.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}); name a file in a writable folder.") from None
    return Manifest(table, json.loads(written.tobytes()), digest(table))


def load(path: epath.PathLike) -> Manifest:
    """What `save` wrote.

    Raises:
        UserError: the file is missing, is no manifest, or is damaged.
    """
    try:
        data = epath.Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"The manifest {path} cannot be read ({error}); {_MAKE}.") from None
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise UserError(f"{path} is not a manifest of candidate sets (an .npz file); {_MAKE}.")
    try:
        table, written, stored = _parts(data)
        facts = dict(json.loads(written.tobytes()))
    except KeyError as error:
        raise UserError(f"{path} is not a manifest of candidate sets ({error.args[0]}); {_MAKE}.") from None
    except Exception as error:  # zipfile, zlib and NumPy each raise kinds of their own
        raise UserError(f"The manifest {path} is damaged ({error}); {_MAKE}.") from None
    if not np.array_equal(stored, _checksum(table, written)) or not np.isin(table, list(LabelState)).all():
        raise UserError(f"The manifest {path} is damaged (its sha256 is another); {_MAKE}.")
    return Manifest(table, facts, digest(table))


def check(found: Manifest, states: np.ndarray, name: str) -> None:
    """Checks that a manifest can belong to a dataset's labels int8 [N, C] of labels.LabelState.

    Raises:
        UserError: the shape is another, or the two contradict each other: one knows a class to be absent where the
            other knows it to be present.
    """
    if found.table.shape != states.shape:
        here, there = (" x ".join(map(str, shape)) for shape in (states.shape, found.table.shape))
        raise UserError(
            f"The candidate sets are of {there} images and classes, {name} has {here}; use those made for {name}."
        )
    negative, positive = LabelState.NEGATIVE, LabelState.POSITIVE
    count, first = 0, 0
    for part in blocks(*states.shape):
        ours, theirs = states[part], found.table[part]
        against = (ours == positive) & (theirs == negative) | (ours == negative) & (theirs == positive)
        first = first if count or not against.any() else part.start + int(against.any(1).argmax())
        count += int(against.sum())
    if count:
        raise UserError(
            f"The candidate sets contradict {count} labels of {name}, first in row {first} "
            "(a true label that is no candidate, or the reverse): probably their rows follow another list of images; "
            "import them with --order=LIST, the list that they follow."
        )


def _parts(data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Table, facts and checksum; KeyError with a sentence where something is not there."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(part.file_size for part in archive.infolist()) > _LARGEST:
            raise ValueError("it unpacks to more than 1 GiB")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        for name in ("table", "facts", "sha256"):
            if name not in arrays:
                raise KeyError(f"it has no {name!r}")
        table, facts, stored = arrays["table"], arrays["facts"], arrays["sha256"]
    if table.dtype != np.int8 or table.ndim != 2 or facts.dtype != np.uint8:
        raise KeyError(f"its table is {table.dtype} with {table.ndim} axes")
    return table, facts, stored


def _checksum(table: np.ndarray, written: np.ndarray) -> np.ndarray:
    content = hashlib.sha256(digest(table).encode() + written.tobytes())
    return np.frombuffer(content.digest(), np.uint8)
