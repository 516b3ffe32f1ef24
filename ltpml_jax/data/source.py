"""Opens a dataset by name: an embedded one, which is built on first use, or one that was prepared."""

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from ltpml_jax.data import embedded, prepared
from ltpml_jax.data.labels import class_counts, class_groups
from ltpml_jax.data.records import Records, Split, read_labels
from ltpml_jax.errors import UserError


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
    if name in embedded.EMBEDDED:
        return _load_embedded(name, data_dir)
    folder = prepared.folder_of(name, data_dir)
    if not folder.exists():
        raise UserError(_unknown(name, data_dir))
    return _load_prepared(name, folder)


def _load_embedded(name: str, data_dir: str) -> Dataset:
    folder = embedded.folder_of(name, data_dir)
    try:
        embedded.build(name, data_dir)
    except OSError as error:
        raise UserError(f"Cannot build {name} in {data_dir!r} ({error}); name a writable folder.") from error
    try:
        info: Any = tfds.builder_from_directory(str(folder)).info
        names = tuple(info.features["labels"].feature.names)
        lengths = {split: info.splits[split].num_examples for split in ("train", "test")}
        train, test = (_split(name, folder, split, length, len(names)) for split, length in lengths.items())
    except Exception as error:  # TFDS, protobuf and ArrayRecord each raise kinds of their own
        raise UserError(f"The dataset in {folder} is damaged ({error}); delete it to rebuild it.") from error
    return Dataset(name, train, test, None, names, class_groups(class_counts(train.labels)))


def _split(name: str, folder: epath.PathLike, split: str, length: int, classes: int) -> Split:
    records = Records(name, str(folder), split, length, classes)
    return Split(records, read_labels(records))


def _load_prepared(name: str, folder: epath.Path) -> Dataset:
    opened = prepared.open_folder(folder)
    classes = len(opened.class_names)
    splits = {
        split: Split(Records(name, str(opened.folder), split, len(states), classes), states)
        for split, states in opened.states.items()
    }
    return Dataset(name, splits["train"], splits["test"], splits.get("validation"), opened.class_names, opened.groups)


def _unknown(name: str, data_dir: str) -> str:
    """What to say of a name that is neither embedded nor prepared."""
    root = prepared.folder_of(name, data_dir).parent.parent
    there = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.exists() else []
    known = [*embedded.EMBEDDED, *there]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    return (
        f"There is no dataset {name!r} in {data_dir}; did you mean {near!r}? "
        f"To make it, run `ltpml prepare --dataset={name} ...`; config.data.dir says where it lies."
    )
