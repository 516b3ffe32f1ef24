"""What a prepared dataset is made of: its name, its listing, the sizes of its images; checked, and as one hash."""

import hashlib
import json
import re

import numpy as np

from ltpml_jax.data import prepared
from ltpml_jax.data.digits_mlt import EMBEDDED
from ltpml_jax.data.listing import Listing
from ltpml_jax.data.locations import File
from ltpml_jax.errors import UserError


def check_name(name: str) -> None:
    """Raises UserError for a name that cannot be one of a dataset."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UserError(f"{name!r} cannot name a dataset; use letters, digits, '_' and '-'.")
    if name in EMBEDDED:
        raise UserError(f"The dataset {name!r} comes with this package; choose another name.")


def check_splits(listing: Listing) -> None:
    """Raises UserError where a split is missing, ValueError where ids, paths and labels do not go together."""
    for split in ("train", "test"):
        if split not in listing.splits or not listing.splits[split].ids:
            raise UserError(f"There is no image in the split {split}; list some, or give --{split}_share=0.2.")
    for split, listed in listing.splits.items():
        expected = (len(listed.ids), len(listing.class_names))
        if listed.states.shape != expected or len(listed.paths) != len(listed.ids):
            raise ValueError(f"the states of {split} are {listed.states.shape}, not {expected}")
        if len(set(listed.ids)) != len(listed.ids):
            raise ValueError(f"the ids of {split} are not unique")


def digest(name: str, listing: Listing, files: dict[str, list[File]]) -> str:
    """A sha256 of what a dataset is made of: ids, labels, what is disputed, classes, groups, sizes of images."""
    groups = {group: mask.tolist() for group, mask in (listing.groups or {}).items()}
    split_ids = {split: listed.ids for split, listed in listing.splits.items()}
    sizes = {split: [file.size for file in found] for split, found in files.items()}
    content = json.dumps([prepared.FORMAT, name, listing.class_names, groups, split_ids, sizes])
    whole = hashlib.sha256(content.encode())
    for listed in listing.splits.values():
        whole.update(listed.states.astype(np.int8).tobytes())
        whole.update(listed.disagreements.tobytes())
    return whole.hexdigest()
