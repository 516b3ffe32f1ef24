"""A prepared dataset on disk, and opening it without TFDS.

OUT/lt_pml/NAME/1.0.0/ is a TFDS dataset of ArrayRecord shards, which TFDS opens without this package, and four kinds
of files more: lt_pml.json (classes, groups, counts, skipped images, how it was made), labels-SPLIT.npy (int8 [N, C] of
labels.LabelState), cooccurrence.npy (int64 [C, C]: training images in which both classes are positive) and, where
annotators disagree, disagreements-SPLIT.npy (listing.ListedSplit has the form). The folder of an embedded dataset,
OUT/NAME/1.0.0/, has the same files.
"""

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from os.path import expanduser
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from ltpml_jax.data import metadata_form
from ltpml_jax.data.labels import GROUPS, LabelState, blocks
from ltpml_jax.data.locations import check_reachable, is_remote, measure
from ltpml_jax.errors import UserError
from ltpml_jax.runtime.files import cache_home

DATASET = "lt_pml"  # the TFDS name of all prepared datasets; each is a config of it
VERSION = "1.0.0"
SUFFIX = "array_record"
# Field of a record -> the state of the classes that it lists; a class in none of them is a known negative.
FIELDS = {"labels": LabelState.POSITIVE, "candidates": LabelState.CANDIDATE, "unknown": LabelState.UNKNOWN}
METADATA = "lt_pml.json"
COOCCURRENCE = "cooccurrence.npy"
FORMAT = 1  # of lt_pml.json
_REMEDY = "prepare it again"


@dataclass(frozen=True)
class Prepared:
    """An opened dataset.

    folder: where it lies, or its copy on this machine; states: by split int8 [N, C] (memory-mapped); groups: masks
    bool [C] under "head", "medium" and "tail"; metadata: lt_pml.json.
    """

    folder: epath.Path
    class_names: tuple[str, ...]
    groups: dict[str, np.ndarray]
    states: dict[str, np.ndarray]
    metadata: dict[str, Any]


def folder_of(name: str, data_dir: epath.PathLike) -> epath.Path:
    """Where the dataset `name` lies below `data_dir`; UserError where no path from here leads there."""
    check_reachable(data_dir)
    return epath.Path(expanduser(data_dir)) / DATASET / name / VERSION


def labels_file(split: str) -> str:
    """The name of the file with the label states of a split."""
    return f"labels-{split}.npy"


def disagreements_file(split: str) -> str:
    """The name of the file with the labels of a split on which annotators disagree."""
    return f"disagreements-{split}.npy"


def shards(folder: epath.PathLike, split: str) -> list[Path]:
    """The files with the records of a split, in order."""
    return sorted(Path(folder).glob(f"*-{split}.{SUFFIX}-*"))


def read_metadata(folder: epath.Path) -> dict[str, Any]:
    """The lt_pml.json of a dataset; UserError where there is none that can be read."""
    return _read_metadata(folder, _REMEDY)


def open_folder(folder: epath.PathLike, remedy: str = _REMEDY) -> Prepared:
    """Opens a dataset; one on another machine is first copied to the cache of this one (see `cached`).

    Raises:
        UserError: files are missing or damaged; ends with `remedy`, what follows when the folder is deleted. Images
            are not read; ArrayRecord checks those as it reads them.
    """
    folder = epath.Path(expanduser(folder))
    check_reachable(folder)
    metadata = _read_metadata(folder, remedy)
    if is_remote(folder):
        folder = cached(folder, metadata)
    try:
        return _open(folder, metadata)
    except Exception as error:  # np.load raises EOFError, SyntaxError and more, of a header that is none
        raise UserError(_damaged(folder, str(error) or type(error).__name__, remedy)) from error


def _read_metadata(folder: epath.Path, remedy: str) -> dict[str, Any]:
    try:
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(_damaged(folder, f"{METADATA}: {error}", remedy)) from error
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise UserError(_damaged(folder, f"{METADATA} is not of format {FORMAT}", remedy))
    odd = metadata_form.misfit(metadata)
    if odd:
        raise UserError(_damaged(folder, f"{METADATA}: {odd}", remedy))
    return metadata


def _open(folder: epath.Path, metadata: dict[str, Any]) -> Prepared:
    names = tuple(metadata["classes"])
    for file, size in metadata["files"].items():
        found = measure(folder / file).size
        if found != size:
            raise ValueError(f"{file} has {found} bytes, not {size}")
    for file, digest in metadata.get("sha256", {}).items():  # an embedded dataset's, which are small
        if hashlib.sha256((folder / file).read_bytes()).hexdigest() != digest:
            raise ValueError(f"{file} has another sha256")
    states = {split: np.load(folder / labels_file(split), mmap_mode="r") for split in metadata["splits"]}
    for split, table in states.items():
        expected = (metadata["splits"][split]["images"], len(names))
        if table.shape != expected or table.dtype != np.int8:
            raise ValueError(f"{labels_file(split)} is {table.dtype} {table.shape}, not int8 {expected}")
        if any((table[part].view(np.uint8) > LabelState.UNKNOWN).any() for part in blocks(*table.shape)):
            raise ValueError(f"{labels_file(split)} holds what is no state of a label")
    groups = {group: np.isin(np.arange(len(names)), metadata["groups"][group]) for group in GROUPS}
    return Prepared(folder, names, groups, states, metadata)


def disagreements(folder: epath.PathLike, split: str, shape: tuple[int, int]) -> np.ndarray:
    """On which labels of a split, [N, C] by `shape`, annotators disagree: int64 [D, 4] of listing.ListedSplit.

    Raises UserError where the file is damaged; no file is no disagreement.
    """
    file = epath.Path(folder) / disagreements_file(split)
    if not file.exists():
        return np.zeros((0, 4), np.int64)
    try:
        found = _array(file)
        if found.dtype != np.int64 or found.ndim != 2 or found.shape[1] != 4:
            raise ValueError(f"{file.name} is {found.dtype} {found.shape}, not int64 (D, 4)")
        if (found < [0, 0, 1, 1]).any() or (found[:, :2] >= shape).any():
            raise ValueError(f"{file.name} names what is no label of the split")
    except Exception as error:  # see open_folder
        raise UserError(_damaged(epath.Path(folder), str(error) or type(error).__name__, _REMEDY)) from error
    return found


def _array(file: epath.Path) -> np.ndarray:
    """The array of a file; ValueError where it holds none, without NumPy's advice to unpickle it."""
    try:
        return np.load(file)
    except ValueError as error:
        raise ValueError(f"{file.name} holds no array of numbers") from error


def cached(folder: epath.Path, metadata: dict[str, Any]) -> epath.Path:
    """A copy of a remote dataset in ~/.cache/ltpml_jax ($XDG_CACHE_HOME/ltpml_jax), made once.

    Its name is a hash of the address and of lt_pml.json, so a dataset that is prepared anew is copied anew. Old copies
    stay until they are deleted.
    """
    content = json.dumps([str(folder), metadata], sort_keys=True)
    place = cache_home() / "datasets" / hashlib.sha256(content.encode()).hexdigest()[:32]
    copy = place / DATASET / folder.parent.name / VERSION  # the names that TFDS looks for
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=place))
        for file in folder.iterdir():
            if file.is_file():
                file.copy(epath.Path(scratch) / file.name)
        try:
            scratch.rename(copy)
        except OSError:  # another process was quicker
            shutil.rmtree(scratch)
    return epath.Path(copy)


def _damaged(folder: epath.Path, what: str, remedy: str) -> str:
    return f"The prepared dataset in {folder} is damaged ({what}); delete that folder and {remedy}."
