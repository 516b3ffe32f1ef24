"""Opens a dataset by name as random-access records, building it first where it is not there yet."""

import contextlib
import difflib
import fcntl
import functools
import io
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ltpml_jax.data import digits_mlt
from ltpml_jax.errors import UserError

Record = dict[str, Any]
log = logging.getLogger(__name__)

DATASETS: dict[str, type[tfds.core.GeneratorBasedBuilder]] = {
    "digits_mlt": digits_mlt.DigitsMlt,
    "digits_identity": digits_mlt.DigitsIdentity,
}
# Positives in the training split, after the LT-PML papers: >= 100, 20..99, < 20.
HEAD_AT_LEAST, MEDIUM_AT_LEAST = 100, 20


class Records:
    """Random access to one split; picklable, opens its files on first use in each process.

    Item i is {"image": encoded bytes, "index": i, "id": str, "labels": int8 [C] multi-hot}.
    """

    def __init__(self, name: str, data_dir: str, split: str, length: int, classes: int) -> None:
        """Names the split; no file is opened."""
        self.name, self.data_dir, self.split = name, data_dir, split
        self.length, self.classes = length, classes

    @functools.cached_property
    def _source(self) -> Any:
        builder: Any = DATASETS[self.name](data_dir=self.data_dir)  # its decorators hide the signature
        return builder.as_data_source(split=self.split, decoders={"image": tfds.decode.SkipDecoding()})

    def __len__(self) -> int:
        """Number of records N."""
        return self.length

    def __getitem__(self, position: int) -> Record:
        """Record at position 0..N-1; IndexError elsewhere."""
        if not 0 <= position < self.length:
            raise IndexError(f"{self!r} has no record {position}")
        raw = self._source[position]
        labels = np.zeros(self.classes, np.int8)
        labels[raw["labels"]] = 1
        return {"image": raw["image"], "index": int(raw["index"]), "id": raw["id"].decode(), "labels": labels}

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: everything but the open files."""
        return {key: value for key, value in vars(self).items() if key != "_source"}

    def __repr__(self) -> str:
        """Equal in every run that reads the same split, wherever its folder is."""
        return f"Records(name={self.name!r}, split={self.split!r}, length={self.length})"


@dataclass(frozen=True)
class Split:
    """One split: its records and their labels int8 [N,C], row i for record i."""

    records: Records
    labels: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A dataset with its two splits and the names of its C classes."""

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]


def load(name: str, data_dir: str) -> Dataset:
    """Opens the dataset `name` below `data_dir`, after building it there where it is missing.

    Raises UserError for an unknown name, a folder that cannot be written and a damaged dataset folder.
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1, cutoff=0.0)[0]
        raise UserError(f"There is no dataset {name!r}; did you mean {near!r}?")
    data_dir = str(Path(data_dir).expanduser())
    folder = _version_folder(name, data_dir)
    try:
        if not folder.exists():
            _build(name, data_dir)
    except OSError as error:
        raise UserError(f"Cannot build {name} in {data_dir!r} ({error}); name a writable folder.") from error
    try:
        builder = DATASETS[name](data_dir=data_dir)
        features: Any = builder.info.features
        names = tuple(features["labels"].feature.names)
        train, test = (_open(builder, data_dir, split, len(names)) for split in ("train", "test"))
    except Exception as error:  # TFDS, protobuf and ArrayRecord each raise kinds of their own
        raise UserError(f"The dataset in {folder} is damaged ({error}); delete it to rebuild it.") from error
    return Dataset(name, train, test, names)


def class_groups(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Boolean masks [C] of the head (>= 100), medium (20..99) and tail (< 20) classes by positives [C]."""
    head, tail = counts >= HEAD_AT_LEAST, counts < MEDIUM_AT_LEAST
    return {"head": head, "medium": ~head & ~tail, "tail": tail}


def _version_folder(name: str, data_dir: str) -> Path:
    return Path(data_dir) / name / str(DATASETS[name].VERSION)


def _open(builder: tfds.core.DatasetBuilder, data_dir: str, split: str, classes: int) -> Split:
    """Reads every record once: gathers the labels, checks order and (by ArrayRecord's hashes) content."""
    length = builder.info.splits[split].num_examples
    records = Records(builder.name, data_dir, split, length, classes)
    labels = np.zeros((length, classes), np.int8)
    for position in range(length):
        record = records[position]
        if record["index"] != position:
            raise ValueError(f"record {position} of {split} has index {record['index']}")
        labels[position] = record["labels"]
    return Split(records, labels)


def _build(name: str, data_dir: str) -> None:
    """Builds the dataset; of several processes one builds and the others wait for it."""
    parent = _version_folder(name, data_dir).parent
    parent.mkdir(parents=True, exist_ok=True)
    with _lock(parent / ".lock"):
        if _version_folder(name, data_dir).exists():
            return
        for left_over in parent.glob("incomplete.*"):  # of a build that was killed: we hold the lock
            shutil.rmtree(left_over)
        started = time.monotonic()
        log.info("Building dataset %s in %s", name, data_dir)
        _prepare(name, data_dir)
        log.info("Built dataset %s in %.1f s", name, time.monotonic() - started)


def _prepare(name: str, data_dir: str) -> None:
    """Runs TFDS, which writes to a folder `incomplete.*` and renames it when it is whole."""
    tfds.disable_progress_bar()
    # TFDS announces on standard output, which belongs to the results; it also makes a download folder.
    with tempfile.TemporaryDirectory() as downloads, contextlib.redirect_stdout(io.StringIO()):
        builder = DATASETS[name](data_dir=data_dir)
        builder.download_and_prepare(download_dir=downloads, file_format="array_record")


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on the file; the kernel frees it when the process ends, however it ends."""
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
