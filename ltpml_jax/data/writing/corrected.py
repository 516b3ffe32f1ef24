"""A dataset with some labels of another: the same images, ids and order, and records rewritten where labels changed."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from etils import epath

from ltpml_jax.data import datasets, prepared
from ltpml_jax.data.datasets import Dataset
from ltpml_jax.data.digits_mlt import EMBEDDED
from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.locations import is_remote, measure
from ltpml_jax.data.readers import common, corrections
from ltpml_jax.data.readers.corrections import Changes
from ltpml_jax.data.records import Split
from ltpml_jax.data.writing import metadata, recipe, tfds_format, writer
from ltpml_jax.data.writing.writer import Written
from ltpml_jax.errors import UserError
from ltpml_jax.runtime.files import replacing


def write(name: str, source: str, file: str, out: epath.PathLike, overwrite: bool = False) -> Written:
    """Write the dataset `name` below `out`: the dataset `source` there with the corrections of a file.

    lt_pml.json lists every change under `corrections`, with the file's sha256. `source` stays as it is.

    Raises:
        UserError: the file does not go with `source` (readers.corrections), another dataset `name` is there (without
            `overwrite`), or the folder cannot be written.
    """
    recipe.check_name(name)
    if name == source:
        raise UserError(f"--dataset and --from are both {name!r}; give the corrected dataset a name of its own.")
    dataset = datasets.load(source, str(out))
    splits = {part: split for part in common.SPLITS if (split := getattr(dataset, part)) is not None}
    ids = {part: [split.records[row]["id"] for row in range(len(split.labels))] for part, split in splits.items()}
    table, rows = corrections.read(file)
    states = {part: split.labels for part, split in splits.items()}
    changes = corrections.apply(table, rows, source, dataset.class_names, ids, states)
    before = prepared.read_metadata(epath.Path(dataset.train.records.folder))
    more = {
        "name": name,
        "plan": plan(name, before["plan"], ids, changes),
        "arguments": {"from": source, "corrections": file},
        "skipped": before["skipped"],
        "notes": [note(file, source, changes)],
        "corrections": record(file, source, table.content, changes),
    }
    groups = dataset.groups if before["groups_from"] == "the source" else None
    listed = {part: _listed(split, ids[part], part, changes.states[part]) for part, split in splits.items()}
    return _publish(Listing(dataset.class_names, listed, groups), dataset, splits, more, out, overwrite)


def _listed(split: Split, ids: list[str], part: str, states: np.ndarray) -> ListedSplit:
    """A split with its new labels int8 [N, C]; those that are decided are not disputed any more."""
    found = prepared.disagreements(split.records.folder, part, states.shape)
    open_ = states[found[:, 0], found[:, 1]] == LabelState.CANDIDATE
    return ListedSplit(ids, [], states, found[open_])


def plan(name: str, source_plan: str, ids: Mapping[str, list[str]], changes: Changes) -> str:
    """A sha256 of what the dataset is made of, as `recipe.digest` for one made of files."""
    whole = hashlib.sha256(json.dumps([prepared.FORMAT, name, "corrected", source_plan, ids]).encode())
    for states in changes.states.values():
        whole.update(np.ascontiguousarray(states, np.int8).data)
    return whole.hexdigest()


def note(file: str, source: str, changes: Changes) -> str:
    """A sentence for the report."""
    number, rest = len(changes.changed), changes.already
    already = f"; {rest} changed nothing, as the label was so already" if rest else ""
    return f"{number} label{'s' * (number != 1)} of {source} corrected by {Path(file).name}{already}"


def record(file: str, source: str, content: bytes, changes: Changes) -> dict[str, Any]:
    """What lt_pml.json keeps of the corrections."""
    listed = [
        {
            "split": one.split,
            "id": one.id,
            "class": one.class_,
            "was": one.was.name.lower(),
            "state": one.state.name.lower(),
            "note": one.note,
        }
        for one in changes.changed
    ]
    return {
        "from": source,
        "file": Path(file).name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "already": changes.already,
        "changes": listed,
    }


def _publish(
    listing: Listing,
    dataset: Dataset,
    splits: Mapping[str, Split],
    more: dict[str, Any],
    out: epath.PathLike,
    overwrite: bool,
) -> Written:
    folder = prepared.folder_of(more["name"], out)
    home = Path(writer.workshop(folder) if is_remote(folder) else folder.parent)
    with writer.locked(home):
        if not overwrite and measure(folder / prepared.METADATA).size >= 0:
            return Written(writer.already(folder, more["plan"]), True)
        try:
            made = home / "incomplete"
            shutil.rmtree(made, ignore_errors=True)  # of a run that was killed
            made.mkdir()
            (home / "incomplete.keys").mkdir(exist_ok=True)
            for part, split in splits.items():
                write_split(made, part, split, listing, dataset.name in EMBEDDED)
            metadata.write_info(made, more["name"], listing)
            written = metadata.write(made, listing, more)
            writer.publish(home, folder)
        except (OSError, RuntimeError) as error:  # ArrayRecord raises the latter, of a full disk for example
            raise UserError(f"Cannot write {folder} ({error}); make room there, and try again.") from error
        return Written(written, False)


def write_split(made: Path, part: str, split: Split, listing: Listing, anew: bool) -> None:
    """Copy the shards of a split to the folder `made`, with new records for images whose labels differ.

    anew: make all records new, as those of an embedded dataset have other fields. OSError where it cannot be written.
    """
    old = prepared.shards(split.records.folder, part)
    states = listing.splits[part].states
    differs = np.asarray((states != split.labels).any(1)) | anew
    first = 0
    for shard, name in zip(old, tfds_format.shard_names(part, len(old)), strict=True):
        size = tfds_format.records(shard)
        rows = range(first, first + size)
        if differs[first : first + size].any():
            with replacing(made / name) as scratch:
                stored = ArrayRecordReader(str(shard)).read_all()
                target = ArrayRecordWriter(str(scratch), "group_size:1")
                for row, content in zip(rows, stored, strict=True):
                    target.write(_record(split, row, states[row], listing.class_names) if differs[row] else content)
                target.close()
        else:
            shutil.copyfile(shard, made / name)
        first += size


def _record(split: Split, row: int, states: np.ndarray, names: tuple[str, ...]) -> bytes:
    found = split.records[row]
    return tfds_format.serialize(names, found["image"], states, found["index"], found["id"])
