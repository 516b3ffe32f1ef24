"""Random access to the records of one split, and the labels that go with them, without TFDS.

A record is a tf.Example. TFDS has that message, but takes 0.15 s to import, and threads that read cannot begin that
together.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from ltpml_jax.data import prepared
from ltpml_jax.data.labels import LabelState

Record = dict[str, Any]
# tensorflow/core/example/{example,feature}.proto, but for float_list, which no field of ours is.
_EXAMPLE = """
name: "ltpml_jax/example.proto" package: "tf" syntax: "proto3"
message_type { name: "Example" field { name: "features" number: 1 type: TYPE_MESSAGE type_name: ".tf.Features" } }
message_type {
  name: "Features"
  field { name: "feature" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".tf.Features.FeatureEntry" }
  nested_type {
    name: "FeatureEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING }
    field { name: "value" number: 2 type: TYPE_MESSAGE type_name: ".tf.Feature" }
  }
}
message_type {
  name: "Feature"
  field { name: "bytes_list" number: 1 type: TYPE_MESSAGE type_name: ".tf.BytesList" }
  field { name: "int64_list" number: 3 type: TYPE_MESSAGE type_name: ".tf.Int64List" }
}
message_type { name: "BytesList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES } }
message_type { name: "Int64List" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 } }
"""


def _message() -> Any:
    pool = descriptor_pool.DescriptorPool()  # of its own: the default one has TFDS's message where that is imported
    pool.AddSerializedFile(text_format.Parse(_EXAMPLE, descriptor_pb2.FileDescriptorProto()).SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tf.Example"))


_Example = _message()


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
        stored = _Example.FromString(self._source[position]).features.feature
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
