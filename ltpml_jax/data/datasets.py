"""Opens a dataset by name: an embedded one, which is built on first use, or one that was prepared.

Nothing here imports TFDS before a record is read or a dataset is built.
"""

from dataclasses import dataclass
from os.path import expanduser
from pathlib import Path

import numpy as np
from etils import epath

from ltpml_jax.data import prepared
from ltpml_jax.data.digits_mlt import EMBEDDED, VERSION
from ltpml_jax.data.locations import is_remote
from ltpml_jax.data.readers.appendix import SOURCES
from ltpml_jax.data.records import Records, Split
from ltpml_jax.errors import UserError, nearest

_NAMED = "config.data.dir, or --data_dir of a command on a run"


@dataclass(frozen=True)
class Dataset:
    """A dataset: its splits, the names of its C classes, masks bool [C] of its head, medium and tail classes."""

    name: str
    train: Split
    test: Split
    validation: Split | None
    class_names: tuple[str, ...]
    groups: dict[str, np.ndarray]


def load(name: str, data_dir: str) -> Dataset:
    """Opens the dataset `name` below `data_dir`; an embedded one is built there where it is missing.

    Raises UserError for an unknown name, a folder that cannot be written and a damaged dataset folder.
    """
    check_there(name, data_dir)
    if name in EMBEDDED:
        opened = prepared.open_folder(_built(name, data_dir), "it is built again on its next use")
    else:
        opened = prepared.open_folder(prepared.folder_of(name, data_dir), "prepare it again")
    classes = len(opened.class_names)
    splits = {
        split: Split(Records(name, str(opened.folder), split, len(states), classes), states)
        for split, states in opened.states.items()
    }
    return Dataset(name, splits["train"], splits["test"], splits.get("validation"), opened.class_names, opened.groups)


def check_there(name: str, data_dir: str) -> None:
    """Raise the UserError of `load` for a name that is neither embedded nor prepared below `data_dir`."""
    if name not in EMBEDDED and not prepared.folder_of(name, data_dir).exists():
        raise UserError(_unknown(name, data_dir))


def folder_of(name: str, data_dir: str) -> epath.Path:
    """Where the dataset lies, or would; UserError where no path from here leads there."""
    if name in EMBEDDED:
        return epath.Path(expanduser(data_dir)) / name / VERSION
    return prepared.folder_of(name, data_dir)


def _built(name: str, data_dir: str) -> epath.Path:
    """The folder of an embedded dataset, which is built there where it is missing."""
    if is_remote(data_dir):
        raise UserError(f"{name} is built in a folder of this machine, not in {data_dir!r}; name one.")
    folder = Path(folder_of(name, data_dir))
    if not (folder / prepared.METADATA).exists():
        from ltpml_jax.data.writing import embedded  # and with it TFDS

        try:
            embedded.build(name, folder)
        except OSError as error:
            raise UserError(f"Cannot build {name} in {data_dir!r} ({error}); name a writable folder.") from error
    return epath.Path(folder)


def _unknown(name: str, data_dir: str) -> str:
    """The sentence on a name that is neither embedded nor prepared: the nearest one, and how to make it."""
    if name in SOURCES:
        return (
            f"The dataset {name!r} is not prepared in {data_dir}; run `ltpml prepare --dataset={name} --appendix=LISTS "
            f"--images=IMAGES`, or name its folder: {_NAMED}."
        )
    root = prepared.folder_of(name, data_dir).parent.parent
    there = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.exists() else []
    if name in there:
        return (
            f"The dataset {name!r} in {data_dir} was not prepared to its end; the `ltpml prepare --dataset={name} ...` "
            "that began it resumes it."
        )
    known = [*EMBEDDED, *SOURCES, *there]
    near = nearest(name, known)
    return (
        f"There is no dataset {name!r} in {data_dir}; did you mean {near!r}? "
        f"To make it, run `ltpml prepare --dataset={name} ...`; if it is elsewhere, name its folder: {_NAMED}."
    )
