"""The part of a prepared dataset that TFDS reads: features, names of shards, dataset_info.json; no TensorFlow.

TFDS is imported by the functions that need it: a command that refuses its flags should not wait for it.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from etils import epath

from ltpml_jax.data.prepared import DATASET, FIELDS, SUFFIX, VERSION


@functools.cache
def features(class_names: tuple[str, ...]) -> Any:
    """The TFDS features of a record: image, labels, candidates, unknown, index, id."""
    import tensorflow_datasets as tfds

    classes = {field: tfds.features.Sequence(tfds.features.ClassLabel(names=list(class_names))) for field in FIELDS}
    image = tfds.features.Image(shape=(None, None, 3))
    return tfds.features.FeaturesDict({"image": image, **classes, "index": np.int64, "id": tfds.features.Text()})


def serialize(class_names: tuple[str, ...], image: bytes, states: np.ndarray, index: int, name: str) -> bytes:
    """One record: the encoded image as it is, states int8 [C], index in the split, id."""
    from tensorflow_datasets.core import example_serializer

    form = features(class_names)
    classes = {field: np.flatnonzero(states == state).tolist() for field, state in FIELDS.items()}
    encoded = form.encode_example({"image": image, **classes, "index": index, "id": name})
    example = example_serializer.ExampleSerializer(form.get_serialized_info()).get_tf_example(encoded)
    return example.SerializeToString(deterministic=True)  # fields otherwise come in the order of a process's hashes


def shard_names(split: str, shards: int) -> list[str]:
    """File names of the shards of a split, in order."""
    return [f"{DATASET}-{split}.{SUFFIX}-{number:05d}-of-{shards:05d}" for number in range(shards)]


def records(shard: Path) -> int:
    """How many records a shard holds; OSError where it is not whole."""
    try:
        return ArrayRecordReader(str(shard)).num_records()
    except Exception as error:  # what the C++ side raises is of many kinds
        raise OSError(f"{shard} is not whole: {error}") from error


def write_info(
    folder: epath.Path,
    config: str,
    description: str,
    class_names: tuple[str, ...],
    lengths: Mapping[str, Sequence[int]],
    sizes: Mapping[str, int],
) -> None:
    """Writes what TFDS needs beside the shards: lengths of the shards and bytes, by split."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import dataset_info, naming, splits

    identity = dataset_info.DatasetIdentity(
        name=DATASET, config_name=config, version=tfds.core.Version(VERSION), data_dir=str(folder), module_name=""
    )
    info = tfds.core.DatasetInfo(
        builder=identity, description=description, features=features(class_names), disable_shuffling=True
    )
    info.set_file_format(SUFFIX)
    template = naming.ShardedFileTemplate(
        data_dir=folder, template=naming.DEFAULT_FILENAME_TEMPLATE, dataset_name=DATASET, filetype_suffix=SUFFIX
    )
    infos = [
        splits.SplitInfo(
            name=split,
            shard_lengths=list(lengths[split]),
            num_bytes=sizes[split],
            filename_template=template.replace(split=split),
        )
        for split in lengths
    ]
    info.set_splits(splits.SplitDict(infos))
    info.write_to_directory(folder)
