"""What the readers of people's own data share: names of classes, places of images, and the final check of a listing."""

import posixpath
import unicodedata
from collections.abc import Callable, Iterable

import numpy as np

from ltpml_jax.data import locations
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
        return locations.read_bytes(path)
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
        ValueError: a relative path leaves the folder by `..`, or no file can have that name.
    """
    odd = locations.unwritable(path)
    if odd:
        raise ValueError(f"holds {odd}; correct it")
    if "://" in path:
        return path
    tidy = posixpath.normpath(path)
    if tidy == ".." or tidy.startswith("../"):
        raise ValueError("leaves the folder of --images; name a folder above it, or write the absolute path")
    return posixpath.join(images, tidy)


def image_paths(images: str, paths: Iterable[str], place: Callable[[int], str]) -> list[str]:
    """`image_path` of each; place: where the entry 0 .. N-1 stands, for a message.

    Raises:
        UserError: there can be no such file, or it is on another machine and cannot be opened from here.
    """
    found, asked = [], set()
    for number, path in enumerate(paths):
        try:
            found.append(image_path(images, path))
            kind = found[-1].partition("://")[0]
            if "://" in found[-1] and kind not in asked:  # one question for each kind of address, as each takes time
                asked.add(kind)
                why = locations.unreachable(found[-1])
                if why:
                    raise UserError(f"{place(number)} is about {found[-1]}, which {why}.")
        except ValueError as error:
            raise UserError(f"{place(number)}: {path!r} {error}.") from None
    return found


def first_twice(items: Iterable[str]) -> str | None:
    """The first item that has occurred before, None where all are different."""
    seen = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc"


def checked(listing: Listing, source: str) -> Listing:
    """The listing, if it can become a dataset; empty splits are left out.

    Raises:
        UserError: it has no class or no training image, an image or an id occurs twice, in one split or in two, or a
            class or an id holds what cannot be written.
    """
    splits = {name: listing.splits[name] for name in SPLITS if name in listing.splits and listing.splits[name].ids}
    if not listing.class_names:
        raise UserError(f"{source} names no class; a dataset needs one at least.")
    for name in listing.class_names:
        odd = locations.unwritable(name) or ("a control character" if any(map(_is_control, name)) else "")
        if odd:
            raise UserError(f"{source} names the class {name!r}, which holds {odd}; write it without.")
    if "train" not in splits:
        raise UserError(f"{source} lists no image to train on; list some (in the split train, where it has splits).")
    twice = first_twice(path for split in splits.values() for path in split.paths)
    if twice is not None:
        raise UserError(f"{source} lists the image {twice} twice; list it once, in one split.")
    for name, split in splits.items():
        odd = next((one for one in split.ids if locations.unwritable(one)), None)
        if odd is not None:
            raise UserError(
                f"{source} gives an image the id {odd!r}, which holds {locations.unwritable(odd)}; correct it."
            )
        twice = first_twice(split.ids)
        if twice is not None:
            raise UserError(f"{source} gives the id {twice!r} to two images of the split {name}; make ids unique.")
    return Listing(listing.class_names, splits, listing.groups, [*listing.notes, *_alike(listing.class_names)])


def _alike(class_names: Iterable[str]) -> list[str]:
    """A note on every set of classes that upper and lower case alone tell apart."""
    by_letters: dict[str, list[str]] = {}
    for name in class_names:
        by_letters.setdefault(name.casefold(), []).append(name)
    return [
        f"The classes {' and '.join(map(repr, names))} differ in upper and lower case alone; they are kept apart."
        for names in by_letters.values()
        if len(names) > 1
    ]
