"""Images that cannot be used: naming them, leaving them out, and what that changes."""

import dataclasses
import logging
from pathlib import Path

import numpy as np

from ltpml_jax.data.labels import class_counts
from ltpml_jax.data.listing import Listing
from ltpml_jax.data.locations import File
from ltpml_jax.data.writing import checks
from ltpml_jax.data.writing.shards import Fault
from ltpml_jax.errors import UserError

log = logging.getLogger(__name__)
FILE = "bad_images.txt"
_SHOWN = 20


def named(listing: Listing, faults: dict[str, list[Fault]]) -> list[dict[str, str]]:
    """The images of the faults, for people and JSON: split, id, path, reason."""
    return [
        {
            "split": split,
            "id": listing.splits[split].ids[fault.row],
            "path": listing.splits[split].paths[fault.row],
            "reason": fault.reason,
        }
        for split in listing.splits
        for fault in faults.get(split, [])
    ]


def refuse(found: list[dict[str, str]], listing: Listing, home: Path) -> UserError:
    """The error for images that cannot be used; logs the first of them, and writes all to a file in `home`."""
    lines = [f"{image['path']}: {image['reason']}" for image in found]
    (home / FILE).write_text("\n".join([*lines, ""]), encoding="utf-8")
    for line in lines[:_SHOWN]:
        log.error("%s", line)
    if len(lines) > _SHOWN:
        log.error("... and %d more", len(lines) - _SHOWN)
    total = sum(len(split.ids) for split in listing.splits.values())
    counts = checks.counted([image["reason"] for image in found], "are ")
    return UserError(
        f"Of {total} images, {counts}, all named in {home / FILE}; "
        "put them right, or give --skip-bad to leave them out."
    )


def without(
    listing: Listing, files: dict[str, list[File]], faults: dict[str, list[Fault]]
) -> tuple[Listing, dict[str, list[File]]]:
    """The listing and its files without the rows of the faults.

    Raises UserError where a split loses all of its images.
    """
    splits, rest = {}, {}
    for name, split in listing.splits.items():
        bad = {fault.row for fault in faults.get(name, [])}
        kept = np.setdiff1d(np.arange(len(split.ids)), sorted(bad))
        if not len(kept):
            raise UserError(f"No image of the split {name} can be used; check --images.")
        splits[name] = split.rows(kept)
        rest[name] = [files[name][row] for row in kept]
    return dataclasses.replace(listing, splits=splits), rest


def changes(listing: Listing, rest: Listing) -> list[str]:
    """Sentences on the classes of each split that have fewer positives in `rest` than in the whole listing."""
    sentences = []
    for name, split in listing.splits.items():
        before, after = class_counts(split.states), class_counts(rest.splits[name].states)
        changed = [
            f"{listing.class_names[index]} {before[index]:g} -> {after[index]:g}"
            for index in np.flatnonzero(before != after)
        ]
        if changed:
            sentences.append(f"skipped images change class counts in {name}: {', '.join(changed)}")
    return sentences
