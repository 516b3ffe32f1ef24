"""The files of a prepared dataset beside its shards."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from ltpml_jax.data import prepared
from ltpml_jax.data.listing import Listing
from ltpml_jax.data.writing import describe, tfds_format


def write(folder: Path, listing: Listing, more: dict[str, Any]) -> dict[str, Any]:
    """Describes the files in `folder`, which hold the listing; the content of lt_pml.json, with `more` in it.

    lt_pml.json comes last and whole, so that a folder that has it has everything.
    """
    unfinished = folder / f"writing.{prepared.METADATA}"
    unfinished.unlink(missing_ok=True)  # of a run that was killed
    for split, listed in listing.splits.items():
        np.save(folder / prepared.labels_file(split), listed.states.astype(np.int8))
    np.save(folder / prepared.COOCCURRENCE, describe.cooccurrence(listing.splits["train"].states))
    metadata = {
        "format": prepared.FORMAT,
        **more,
        "classes": list(listing.class_names),
        **describe.statistics(listing),
        "files": {file.name: file.stat().st_size for file in sorted(folder.iterdir())},
    }
    unfinished.write_text(json.dumps(metadata, indent=1, ensure_ascii=False) + "\n")
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
