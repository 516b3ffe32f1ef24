"""Shards of a dataset: which rows go where, and writing one of them.

A shard holds consecutive rows of a split. Its cut depends on the sizes of the images alone, so that the files are the
same whatever the number of processes that write them.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath

from ltpml_jax.data.listing import ListedSplit
from ltpml_jax.data.locations import FOLDER, MISSING, STRANGE, File
from ltpml_jax.data.writing import checks, tfds_format
from ltpml_jax.runtime.files import replacing

_NO_FILE = {
    MISSING: "missing",
    FOLDER: f"a folder{checks.NEITHER}",
    STRANGE: f"a pipe or a device{checks.NEITHER}",
}
LEAST_BYTES = 16 << 20  # small enough to lose little when killed
MOST_SHARDS = 1024


class Fault(NamedTuple):
    """An image that cannot be used: its row in the split, and why."""

    row: int
    reason: str


@dataclass(frozen=True)
class Shard:
    """Rows first..first+n of a split, and the file they go to; states: int8 [n, C]."""

    split: str
    name: str
    first: int
    ids: list[str]
    paths: list[str]
    files: list[File]
    states: np.ndarray
    class_names: tuple[str, ...]

    def key(self) -> str:
        """A hash of everything that the shard is made of; an equal key means equal bytes."""
        content = json.dumps([self.split, self.first, self.ids, self.paths, self.files, self.class_names])
        return hashlib.sha256(content.encode() + self.states.tobytes()).hexdigest()


def cut(split: str, listed: ListedSplit, files: list[File], class_names: tuple[str, ...]) -> list[Shard]:
    """The shards of a split: about 16 MiB of images each, more where that would be over a thousand files."""
    sizes = np.maximum([file.size for file in files], 0)
    target = max(LEAST_BYTES, int(sizes.sum()) // MOST_SHARDS + 1)
    number = (np.cumsum(sizes) - sizes) // target
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    ends = [*starts[1:], len(files)]
    names = tfds_format.shard_names(split, len(starts))
    return [
        Shard(
            split,
            name,
            int(start),
            listed.ids[start:end],
            listed.paths[start:end],
            files[start:end],
            listed.states[start:end],
            class_names,
        )
        for name, start, end in zip(names, starts, ends, strict=True)
    ]


def write(shard: Shard, folder: Path) -> list[Fault]:
    """Checks all images of a shard and writes it to `folder`, unless there are faults, which it returns.

    The file appears under its name only when it is whole.

    Raises OSError where it cannot be written.
    """
    try:
        with replacing(folder / shard.name) as scratch:
            faults = _fill(scratch, shard)
            if faults:
                scratch.unlink()
    except RuntimeError as error:  # ArrayRecord's own, of a full disk for example
        raise OSError(str(error)) from error
    return faults


def _fill(path: Path, shard: Shard) -> list[Fault]:
    """Writes the records of a shard up to the first fault; all images are checked."""
    writer = ArrayRecordWriter(str(path), "group_size:1")  # as TFDS does, for random access
    faults = []
    for row, (place, name, states) in enumerate(zip(shard.paths, shard.ids, shard.states, strict=True)):
        index = shard.first + row
        data, reason = _read(place, shard.files[row].size)
        if reason:
            faults.append(Fault(index, reason))
        elif not faults:
            writer.write(tfds_format.serialize(shard.class_names, data, states, index, name))
    writer.close()
    if not faults and tfds_format.records(path) != len(shard.ids):
        raise OSError(f"{path} is not whole")
    return faults


def _read(path: str, size: int) -> tuple[bytes, str]:
    """The bytes of an image file that has `size` of them, and what is wrong with it."""
    if size < 0:
        return b"", _NO_FILE[size]
    try:
        data = epath.Path(path).read_bytes()
    except OSError as error:
        return b"", f"cannot be read: {error.strerror or error}"
    if len(data) != size:
        return data, "changed while it was read"
    return data, checks.fault(data)
