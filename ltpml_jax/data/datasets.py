"""Opens a dataset by name: an embedded one, which is built on first use, or one that was prepared.

Nothing here imports TFDS before a record is read or a dataset is built.
"""

import difflib
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from etils import epath

from ltpml_jax.data import prepared
from ltpml_jax.data.digits_mlt import EMBEDDED, VERSION
from ltpml_jax.data.labels import LabelState
from ltpml_jax.errors import UserError

Record = dict[str, Any]


class Records:
    """Random access to one split; picklable, opens its files on first use in each process.

    Item i is {"image": encoded bytes, "index": i, "id": str, "labels": int8 [C] of LabelState}.
    """

    def __init__(self, name: str, folder: str, split: str, length: int, classes: int) -> None:
        """Names the split of the dataset in `folder`; no file is opened."""
        self.name, self.folder, self.split = name, folder, split
        self.length, self.classes = length, classes

    @functools.cached_property
    def _source(self) -> ArrayRecordDataSource:
        source = ArrayRecordDataSource([str(path) for path in prepared.shards(self.folder, self.split)])
        if len(source) != self.length:
            raise ValueError(f"there are {len(source)} records of {self.split} in {self.folder}, not {self.length}")
        return source

    def __len__(self) -> int:
        """Number of records N."""
        return self.length

    def __getitem__(self, position: int) -> Record:
        """Record at position 0..N-1; IndexError elsewhere."""
        if not 0 <= position < self.length:
            raise IndexError(f"{self!r} has no record {position}")
        # Not by TFDS's parser: it takes 130 us of the 1,300 that a 500x375 JPEG costs until it is in a batch.
        stored = _example().FromString(self._source[position]).features.feature
        labels = np.full(self.classes, LabelState.NEGATIVE, np.int8)
        for name, state in prepared.FIELDS.items():
            if name in stored:  # datasets of clean labels have no candidates, and none unknown
                labels[list(stored[name].int64_list.value)] = state
        image, key = (stored[name].bytes_list.value[0] for name in ("image", "id"))
        return {"image": image, "index": stored["index"].int64_list.value[0], "id": key.decode(), "labels": labels}

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: everything but the open files."""
        return {key: value for key, value in vars(self).items() if key != "_source"}

    def __repr__(self) -> str:
        """Equal in every run that reads the same split, wherever its folder is."""
        return f"Records(name={self.name!r}, split={self.split!r}, length={self.length})"


@dataclass(frozen=True)
class Split:
    """One split: its records and their labels int8 [N, C] of LabelState, row i for record i."""

    records: Records
    labels: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A dataset: its splits, the names of its C classes, masks bool [C] of its head, medium and tail classes."""

    name: str
    train: Split
    test: Split
    validation: Split | None
    class_names: tuple[str, ...]
    groups: dict[str, np.ndarray]


def load(name: str, data_dir: str) -> Dataset:
    """Opens the dataset `name` below `data_dir`; an embedded one is built there where it is missing.

    Raises UserError for an unknown name, a folder that cannot be written and a damaged dataset folder.
    """
    if name in EMBEDDED:
        opened = prepared.open_folder(_built(name, data_dir), "it is built again on its next use")
    else:
        folder = prepared.folder_of(name, data_dir)
        if not folder.exists():
            raise UserError(_unknown(name, data_dir))
        opened = prepared.open_folder(folder, "prepare it again")
    classes = len(opened.class_names)
    splits = {
        split: Split(Records(name, str(opened.folder), split, len(states), classes), states)
        for split, states in opened.states.items()
    }
    return Dataset(name, splits["train"], splits["test"], splits.get("validation"), opened.class_names, opened.groups)


def _built(name: str, data_dir: str) -> epath.Path:
    """The folder of an embedded dataset, which is built there where it is missing."""
    folder = Path(data_dir).expanduser() / name / VERSION
    if not (folder / prepared.METADATA).exists():
        from ltpml_jax.data.writing import embedded  # and with it TFDS

        try:
            embedded.build(name, folder)
        except OSError as error:
            raise UserError(f"Cannot build {name} in {data_dir!r} ({error}); name a writable folder.") from error
    return epath.Path(folder)


def _unknown(name: str, data_dir: str) -> str:
    """The sentence on a name that is neither embedded nor prepared: the nearest one, and how to make it."""
    root = prepared.folder_of(name, data_dir).parent.parent
    there = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.exists() else []
    known = [*EMBEDDED, *there]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    return (
        f"There is no dataset {name!r} in {data_dir}; did you mean {near!r}? "
        f"To make it, run `python -m ltpml_jax.prepare --dataset={name} ...`; config.data.dir says where it lies."
    )


@functools.cache
def _example() -> Any:
    """The tf.Example message: the fields of a record by name; TFDS has it, without TensorFlow."""
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example  # pyright: ignore[reportAttributeAccessIssue]: made on import
