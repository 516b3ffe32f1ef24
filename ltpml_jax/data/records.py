"""Random access to the records of one split, and the labels that go with them."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from ltpml_jax.data.labels import LabelState

Record = dict[str, Any]
_Example: Any = tf_example_pb2.Example  # pyright: ignore[reportAttributeAccessIssue]: made on import
# The features of a record that list classes, and what they say of them.
_LISTS = {"labels": LabelState.POSITIVE, "candidates": LabelState.CANDIDATE, "unknown": LabelState.UNKNOWN}


class Records:
    """Random access to one split; picklable, opens its files on first use in each process.

    Item i is {"image": encoded bytes, "index": i, "id": str, "labels": int8 [C] of LabelState}.
    """

    def __init__(self, name: str, folder: str, split: str, length: int, classes: int) -> None:
        """Names the split of the TFDS dataset in `folder`; no file is opened."""
        self.name, self.folder, self.split = name, folder, split
        self.length, self.classes = length, classes

    @functools.cached_property
    def _source(self) -> Any:
        builder: Any = tfds.builder_from_directory(self.folder)  # its decorators hide the signature
        return builder.as_data_source(split=self.split, decoders={"image": tfds.decode.SkipDecoding()})

    def __len__(self) -> int:
        """Number of records N."""
        return self.length

    def __getitem__(self, position: int) -> Record:
        """Record at position 0..N-1; IndexError elsewhere."""
        if not 0 <= position < self.length:
            raise IndexError(f"{self!r} has no record {position}")
        # Not by TFDS's parser: it takes 130 us of the 1,300 that a 500x375 JPEG costs until it is in a batch.
        stored = _Example.FromString(self._source.data_source[position]).features.feature
        labels = np.full(self.classes, LabelState.NEGATIVE, np.int8)
        for name, state in _LISTS.items():
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


def read_labels(records: Records) -> np.ndarray:
    """Labels int8 [N, C] from the records themselves, each read once; ValueError where one is out of order.

    ArrayRecord checks its hashes on the way, so this also finds damage.
    """
    labels = np.zeros((len(records), records.classes), np.int8)
    for position in range(len(records)):
        record = records[position]
        if record["index"] != position:
            raise ValueError(f"record {position} of {records.split} has index {record['index']}")
        labels[position] = record["labels"]
    return labels
