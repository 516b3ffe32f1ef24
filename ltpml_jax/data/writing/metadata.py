"""The files of a prepared dataset beside its shards, and the report on them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from ltpml_jax.data import prepared
from ltpml_jax.data.labels import GROUPS, HEAD_AT_LEAST, MEDIUM_AT_LEAST, LabelState, class_counts, class_groups
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.writing import checks, tfds_format


def write(folder: Path, listing: Listing, more: dict[str, Any]) -> dict[str, Any]:
    """Describes the files in `folder`, which hold the listing; the content of lt_pml.json, with `more` in it.

    lt_pml.json comes last and whole, so that a folder that has it has everything.
    """
    unfinished = folder / f"writing.{prepared.METADATA}"
    unfinished.unlink(missing_ok=True)  # of a run that was killed
    for split, listed in listing.splits.items():
        np.save(folder / prepared.labels_file(split), listed.states.astype(np.int8))
        if len(listed.disagreements):
            np.save(folder / prepared.disagreements_file(split), listed.disagreements)
    np.save(folder / prepared.COOCCURRENCE, cooccurrence(listing.splits["train"].states))
    metadata = {
        "format": prepared.FORMAT,
        **more,
        "classes": list(listing.class_names),
        **statistics(listing),
        "files": {file.name: file.stat().st_size for file in sorted(folder.iterdir())},
    }
    unfinished.write_text(json.dumps(metadata, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(folder / prepared.METADATA)
    return metadata


def write_info(folder: Path, name: str, listing: Listing) -> None:
    """Writes what TFDS reads beside the shards in `folder`, which hold the listing."""
    shards = {split: prepared.shards(folder, split) for split in listing.splits}
    lengths = {split: [tfds_format.records(file) for file in files] for split, files in shards.items()}
    sizes = {split: sum(file.stat().st_size for file in files) for split, files in shards.items()}
    counts = ", ".join(f"{len(listed.ids)} {split}" for split, listed in listing.splits.items())
    description = f"{name}: {len(listing.class_names)} classes; images: {counts}. Written by ltpml prepare."
    tfds_format.write_info(epath.Path(folder), name, description, listing.class_names, lengths, sizes)


_PAIRS = 10
_SHOWN = 20
_RULES = {
    "head": f">= {HEAD_AT_LEAST}",
    "medium": f"{MEDIUM_AT_LEAST}..{HEAD_AT_LEAST - 1}",
    "tail": f"< {MEDIUM_AT_LEAST}",
}


def cooccurrence(states: np.ndarray) -> np.ndarray:
    """Images in which both classes are positive, int64 [C, C], of states [N, C]; the diagonal holds the counts."""
    positive = (states == LabelState.POSITIVE).astype(np.float64)  # sums of ones are exact, and BLAS is quick
    return (positive.T @ positive).astype(np.int64)


def statistics(listing: Listing) -> dict[str, Any]:
    """The numbers of a listing, for JSON: groups (class indices), splits, the pairs most often seen together."""
    train = listing.splits["train"].states
    masks = listing.groups or class_groups(class_counts(train))
    return {
        "groups": {group: np.flatnonzero(masks[group]).tolist() for group in GROUPS},
        "groups_from": "the source" if listing.groups else "positives in train",
        "splits": {name: _split_statistics(split) for name, split in listing.splits.items()},
        "pairs": _pairs(cooccurrence(train), listing.class_names),
    }


def _split_statistics(split: ListedSplit) -> dict[str, Any]:
    positives = (split.states == LabelState.POSITIVE).sum(1)
    return {
        "images": len(split.ids),
        "class_counts": [float(count) for count in class_counts(split.states)],
        "labels": int(positives.sum()),
        "cardinality": float(positives.mean()),
        "without_label": int((split.states == LabelState.NEGATIVE).all(1).sum()),
        "candidates": int((split.states == LabelState.CANDIDATE).sum()),
        "unknown": int((split.states == LabelState.UNKNOWN).sum()),
    }


def _pairs(together: np.ndarray, names: tuple[str, ...]) -> list[list[Any]]:
    """[class, class, images] of the pairs that are most often in one image; of equals the first in class order."""
    rows, columns = np.triu_indices(len(names), 1)
    images = together[rows, columns]
    order = np.argsort(-images, kind="stable")[:_PAIRS]
    return [[names[rows[i]], names[columns[i]], int(images[i])] for i in order if images[i]]


def disagreement_notes(listing: Listing) -> list[str]:
    """A sentence for the report where annotators disagree."""
    found = [listed.disagreements for listed in listing.splits.values()]
    labels, images = sum(map(len, found)), sum(len(np.unique(one[:, 0])) for one in found)
    return [f"Annotators disagree on labels: {labels}, of images: {images}."] if labels else []


def text(metadata: dict[str, Any]) -> str:
    """The report: what is in the dataset, and what is not."""
    skipped = metadata["skipped"]
    total = sum(split["images"] for split in metadata["splits"].values())
    counts = checks.counted([image["reason"] for image in skipped])
    lines = [
        f"{metadata['name']}: {len(metadata['classes'])} classes; images: {total} found and whole, "
        f"{counts}" + (" (skipped)" if skipped else ""),
        *(_split_line(name, split) for name, split in metadata["splits"].items()),
        *_group_lines(metadata),
    ]
    pairs = ", ".join(f"{one} + {other} {images}" for one, other, images in metadata["pairs"])
    lines += [f"together most often (training images): {pairs}"] if pairs else []
    lines += [f"note: {note}" for note in metadata["notes"]]
    lines += [f"skipped: {image['path']}: {image['reason']}" for image in skipped[:_SHOWN]]
    if len(skipped) > _SHOWN:
        lines.append(f"skipped: {len(skipped) - _SHOWN} more; lt_pml.json names them")
    return "\n".join(lines)


def _split_line(name: str, split: dict[str, Any]) -> str:
    line = f"  {name}: {split['images']} images, {split['labels']} labels, {split['cardinality']:.2f} an image"
    for field, words in (("without_label", "without a label"), ("candidates", "candidates"), ("unknown", "unknown")):
        line += f", {split[field]} {words}" if split[field] else ""
    return line


def _group_lines(metadata: dict[str, Any]) -> list[str]:
    counts = metadata["splits"]["train"]["class_counts"]
    by_rule = metadata["groups_from"] != "the source"
    lines = []
    for group, members in metadata["groups"].items():
        rule = f" ({_RULES[group]})" if by_rule else ""
        ordered = sorted(members, key=lambda index: -counts[index])
        named = ", ".join(f"{metadata['classes'][index]} {counts[index]:g}" for index in ordered)
        lines.append(f"  {group}{rule}: {len(members)} classes" + (f": {named}" if named else ""))
    return lines
