"""Random access to the records of one split, and the labels that go with them; no TFDS before a record is read."""

import functools
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource

from ltpml_jax.data import prepared
from ltpml_jax.data.labels import LabelState

Record = dict[str, Any]
_IMPORTING = threading.Lock()


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


@functools.cache
def _example() -> Any:
    """The tf.Example message: the fields of a record by name; TFDS has it, without TensorFlow.

    One thread at a time imports it: TFDS imports its own parts on first use, and two reading threads that did so
    together could wait for each other without end. Later records need neither the lock nor the import.
    """
    with _IMPORTING:
        from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example  # pyright: ignore[reportAttributeAccessIssue]: made on import
