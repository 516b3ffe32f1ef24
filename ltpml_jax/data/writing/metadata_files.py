"""The files of a prepared dataset beside its shards."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from ltpml_jax.data import prepared
from ltpml_jax.data.listing import Listing
from ltpml_jax.data.writing import describe, tfds_format


def write(folder: Path, listing: Listing, said: dict[str, Any]) -> dict[str, Any]:
    """Describes the shards in `folder`, which hold the listing; the content of lt_pml.json, with `said` in it."""
    for split, listed in listing.splits.items():
        np.save(folder / prepared.labels_file(split), listed.states.astype(np.int8))
    np.save(folder / prepared.COOCCURRENCE, describe.cooccurrence(listing.splits["train"].states))
    _write_info(folder, said["name"], listing)
    metadata = {
        "format": prepared.FORMAT,
        **said,
        "classes": list(listing.class_names),
        **describe.facts(listing),
        "files": {file.name: file.stat().st_size for file in sorted(folder.iterdir())},
    }
    (folder / prepared.METADATA).write_text(json.dumps(metadata, indent=1, ensure_ascii=False) + "\n")
    return metadata


def _write_info(folder: Path, name: str, listing: Listing) -> None:
    shards = {split: sorted(folder.glob(f"{tfds_format.DATASET}-{split}.*")) for split in listing.splits}
    lengths = {split: [tfds_format.records(file) for file in files] for split, files in shards.items()}
    sizes = {split: sum(file.stat().st_size for file in files) for split, files in shards.items()}
    counts = ", ".join(f"{len(listed.ids)} {split}" for split, listed in listing.splits.items())
    description = f"{name}: {len(listing.class_names)} classes; images: {counts}. Written by ltpml prepare."
    tfds_format.write_info(epath.Path(folder), name, description, listing.class_names, lengths, sizes)
