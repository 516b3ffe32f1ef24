"""Label states in a file, with how they were made and a sha256 of both.

A safetensors file of one tensor, `table` int8 [N, C] of labels.LabelState, and one entry of metadata, `ltpml_jax`: JSON
with `origin` (how the states were made) and the `sha256`. It has no objects and no limit of size, and a table that is
loaded stays in it. Equal content gives equal bytes.
"""

import contextlib
import hashlib
import json
import re
import shlex
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import expanduser
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ltpml_jax.data.labels import LabelState, blocks
from ltpml_jax.data.locations import check_reachable, is_remote, measure
from ltpml_jax.errors import UserError
from ltpml_jax.runtime.files import cache_home, check_regular, replacing

SUFFIX = ".safetensors"
_KEY = "ltpml_jax"  # one entry, as safetensors writes several in an order of chance
_MAKE = "make it again with `ltpml corrupt`"


@dataclass(frozen=True)
class Manifest:
    """What a file holds: states int8 [N, C] of labels.LabelState, their origin, and `digest` of the states."""

    table: np.ndarray
    origin: dict[str, Any]
    digest: str


def digest(table: np.ndarray) -> str:
    """The sha256 (64 hex digits) of a label table [N, C]: its shape and its entries as int8."""
    shape = ",".join(str(side) for side in table.shape)
    found = hashlib.sha256(f"int8[{shape}]".encode())
    for part in blocks(*table.shape):
        found.update(np.ascontiguousarray(table[part], dtype=np.int8).data)
    return found.hexdigest()


def save(path: epath.PathLike, table: np.ndarray, origin: dict[str, Any]) -> Manifest:
    """Writes states int8 [N, C] and their origin (what JSON can hold) to `path`; returns what is in it.

    Raises:
        UserError: the name does not end in .safetensors, or the file cannot be written.
    """
    check_reachable(path)
    path = epath.Path(expanduser(path))
    if path.suffix != SUFFIX:
        raise UserError(f"{path} does not end in {SUFFIX}; give the manifest a name that does.")
    table = np.ascontiguousarray(table, np.int8)
    found = Manifest(table, json.loads(_json(origin)), digest(table))
    entry = _json({"origin": origin, "sha256": _checksum(found)})
    try:
        with replacing(_cache() / path.name if is_remote(path) else Path(path)) as scratch:
            scratch.touch()
            mode = scratch.stat().st_mode
            save_file({"table": table}, scratch, {_KEY: entry})
            scratch.chmod(mode)  # safetensors leaves a file that its owner alone can read
            if is_remote(path):
                epath.Path(scratch).copy(path, overwrite=True)
                scratch.unlink()
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be written ({error}); name a file in a writable folder.") from None
    return found


def load(path: epath.PathLike) -> Manifest:
    """What `save` wrote; the table is memory-mapped.

    Raises:
        UserError: the file is missing, is no regular file, no manifest or one of an earlier version, or is damaged.
    """
    with _opened(path) as (table, content):
        found = Manifest(table, dict(content["origin"]), digest(table))
        whole = content["sha256"] == _checksum(found)
    if not whole or any((table[part].view(np.uint8) > LabelState.UNKNOWN).any() for part in blocks(*table.shape)):
        raise UserError(f"The manifest {path} is damaged (its sha256 is another); {_MAKE}.")
    return found


def read_origin(path: epath.PathLike) -> dict[str, Any]:
    """How a manifest that was loaded before was made, without reading its table again; UserError as `load`."""
    with _opened(path) as (_, content):
        return dict(content["origin"])


@contextlib.contextmanager
def _opened(path: epath.PathLike) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """The table, memory-mapped, and the metadata; what goes wrong inside, too, is a UserError that names the file."""
    check_reachable(path)
    file = _local(epath.Path(expanduser(path)))
    try:
        table, entry = _parts(file)
        yield table, json.loads(entry)
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no manifest of candidate sets, or a damaged one ({error}); {_MAKE}.") from None


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


def _parts(file: Path) -> tuple[np.ndarray, str]:
    """The table, memory-mapped, and the entry of metadata; ValueError where the file holds something else."""
    with safe_open(file, framework="numpy") as opened:
        entry, names = (opened.metadata() or {}).get(_KEY), list(opened.keys())
        if entry is None or names != ["table"]:
            raise ValueError(f"it has no metadata {_KEY!r}, or other tensors than 'table'")
        kind, shape = opened.get_slice("table").get_dtype(), tuple(opened.get_slice("table").get_shape())
    if kind != "I8" or len(shape) != 2 or 0 in shape:
        raise ValueError(f"its table is {kind} of shape {shape}")
    # safetensors has checked that the tensors fill the file from the header to its end.
    return np.memmap(file, np.int8, "r", file.stat().st_size - shape[0] * shape[1], shape), entry


def _local(path: epath.Path) -> Path:
    """The file on this machine: the path itself, or a copy that is made once for a file that is elsewhere."""
    if not is_remote(path):
        return _regular(Path(path))
    found = measure(path)
    if found.size < 0:
        raise UserError(f"The manifest {path} cannot be read (there is no such file); {_MAKE}.")
    copy = _cache() / f"{hashlib.sha256(f'{path} {found}'.encode()).hexdigest()[:32]}{SUFFIX}"
    if not copy.exists():
        with replacing(copy) as scratch:
            path.copy(scratch, overwrite=True)
    return _regular(copy)


def _regular(path: Path) -> Path:
    """The path itself; UserError where it is no regular file, or a manifest of an earlier version."""
    try:
        check_regular(path)
        with open(path, "rb") as file:
            beginning = file.read(4)
    except OSError as error:
        raise UserError(f"The manifest {path} cannot be read ({error.strerror}); {_MAKE}.") from None
    if beginning == b"PK\x03\x04":
        raise UserError(
            f"{path} is an .npz file, as earlier versions wrote manifests; make it anew with `{_command(path)}`."
        )
    return path


def _command(path: Path) -> str:
    """What makes the content of an .npz manifest anew; in general terms where its origin is not known."""
    out = f"--out={shlex.quote(str(path.with_suffix(SUFFIX)))}"
    try:
        with zipfile.ZipFile(path) as archive:  # its arrays: the table, its sha256, and how it was made, as JSON
            (made,) = (part for part in archive.infolist() if part.filename not in ("table.npy", "sha256.npy"))
            if made.file_size > 2**16:
                raise ValueError
        with np.load(path, allow_pickle=False) as arrays:
            origin = json.loads(arrays[made.filename].tobytes())
        given = {"dataset": origin["dataset"], "kind": origin["kind"], **origin["parameters"], "seed": origin["seed"]}
        if given["kind"] == "import":
            given = {"dataset": given["dataset"], "import_npy": "FILE"}
        flags = [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in given.items()]
        if not all(re.fullmatch(r"--[a-z_]+=[\w.-]+", flag, re.ASCII) for flag in flags):
            raise ValueError
    except Exception:  # zipfile, zlib and NumPy each raise kinds of their own, and the content is anything
        flags = ["--dataset=NAME", "--kind=KIND"]
    return " ".join(["ltpml corrupt", *flags, out])


def _cache() -> Path:
    """Where copies of manifests of other machines lie."""
    place = cache_home() / "manifests"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _checksum(found: Manifest) -> str:
    return hashlib.sha256((found.digest + _json(found.origin)).encode()).hexdigest()
