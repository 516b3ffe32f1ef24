"""What the readers of people's own data share: names of classes, places of images, and the final check of a listing."""

import posixpath
import unicodedata
from collections.abc import Iterable

import numpy as np
from etils import epath

from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.listing import Listing
from ltpml_jax.errors import UserError

SPLITS = ("train", "validation", "test")
# What a source may mean by a class that it does not list for an image.
UNLISTED = {"negative": LabelState.NEGATIVE, "unknown": LabelState.UNKNOWN}
NOT_STATED = -1  # in a table of states that is being filled


def read_bytes(path: str, flag: str) -> bytes:
    """The content of a file that the command line's `flag` names.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    try:
        return epath.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path} ({error.strerror or error}); {flag} names a file to read.") from error


def unlisted_state(unlisted: str) -> LabelState:
    """The state of classes that a source does not list: "negative" or "unknown".

    Raises:
        UserError: it is neither.
    """
    if unlisted not in UNLISTED:
        raise UserError(f"--unlisted is {unlisted!r}; set it to negative or unknown.")
    return UNLISTED[unlisted]


def mark(states: np.ndarray, rows: np.ndarray, classes: np.ndarray, state: LabelState) -> int | None:
    """Writes `state` to the entries (rows [E], classes [E]) of states int8 [N, C].

    Returns the first e at which another state is written already, and then writes nothing; None where all is well.
    """
    before = states[rows, classes]
    clash = (before != NOT_STATED) & (before != state)
    if clash.any():
        return int(clash.argmax())
    states[rows, classes] = state
    return None


def class_name(name: str) -> str:
    """A class name with its blanks single, none at the ends and no line breaks, in Unicode's composed form (NFC).

    Two spellings that look the same are the same class; upper and lower case are not.
    """
    return unicodedata.normalize("NFC", " ".join(name.split()))


def image_path(images: str, path: str) -> str:
    """Where an image lies: `path` below the folder `images`, or as it is where it is absolute or a URL.

    Raises:
        UserError: a relative path leaves the folder by `..`.
    """
    if "://" in path:
        return path
    tidy = posixpath.normpath(path)
    if tidy == ".." or tidy.startswith("../"):
        raise UserError(f"{path!r} leaves the folder of --images; name a folder above it, or write the absolute path.")
    return posixpath.join(images, tidy)


def first_twice(items: Iterable[str]) -> str | None:
    """The first item that has occurred before, None where all are different."""
    seen = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None


def checked(listing: Listing, source: str) -> Listing:
    """The listing, if it can become a dataset; empty splits are left out.

    Raises:
        UserError: it has no class or no training image, or an image or an id occurs twice, in one split or in two.
    """
    splits = {name: listing.splits[name] for name in SPLITS if name in listing.splits and listing.splits[name].ids}
    if not listing.class_names:
        raise UserError(f"{source} names no class; a dataset needs one at least.")
    if "train" not in splits:
        raise UserError(f"{source} lists no image to train on; list some (in the split train, where it has splits).")
    twice = first_twice(path for split in splits.values() for path in split.paths)
    if twice is not None:
        raise UserError(f"{source} lists the image {twice} twice; list it once, in one split.")
    for name, split in splits.items():
        twice = first_twice(split.ids)
        if twice is not None:
            raise UserError(f"{source} gives the id {twice!r} to two images of the split {name}; make ids unique.")
    return Listing(listing.class_names, splits, listing.groups, listing.notes)
