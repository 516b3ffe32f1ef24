"""The work directory's copy of the config: whose run it is, and what may differ when the run is resumed."""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from ltpml_jax.config import default_config, fields, settings
from ltpml_jax.data.locations import unwritable
from ltpml_jax.errors import UserError
from ltpml_jax.methods.settings import Config
from ltpml_jax.runtime.files import LOCK, expanded, write_atomic, writing

PATIENCE = 10.0  # seconds until a network file system shows what another host wrote
FILE = "config.json"


def as_path(workdir: str | Path) -> Path:
    """The path of a work directory that a program names, the home for ~; UserError for what is no path."""
    text = os.fspath(workdir) if isinstance(workdir, str | os.PathLike) else ""
    if not text or text.partition("/")[0].endswith(":"):  # a Path has made one slash of the two of a URL
        raise UserError(f"The work directory is {workdir!r}; give the path of a folder (mount it, where it is a URL).")
    return expanded(text)


def claim(config: Config, workdir: Path) -> None:
    """Make the work directory belong to this config: write config.json, where there is none.

    For when everything that the config names has been found, so that a run that never began claims no directory.
    UserError where it cannot be written.
    """
    path = workdir / FILE
    with writing(path):
        if not path.exists():
            write_atomic(path, config.to_json(indent=2, sort_keys=True) + "\n")


def check_shared(workdir: Path) -> None:
    """Raise UserError where the lock that process 0 holds on the work directory does not show here."""
    if not shows(workdir, lambda: (workdir / LOCK).exists(), PATIENCE):
        raise UserError(
            f"The work directory {workdir} does not show here what process 0 writes there; give all processes the "
            "same --workdir, on a file system that they share."
        )


def shows(folder: Path, there: Callable[[], bool], patience: float) -> bool:
    """Whether what others write to a folder is there, or comes within `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        with contextlib.suppress(OSError):
            os.listdir(folder)  # makes a network file system read the folder anew
        if there() or time.monotonic() > until:
            return there()
        time.sleep(0.1)


def check_workdir(config: Config, workdir: Path) -> None:
    """Raise UserError where the work directory cannot be written, or belongs to another config."""
    if unwritable(str(workdir)):
        raise UserError(f"The work directory {str(workdir)!r} has a name that is not UTF-8; give another --workdir.")
    odd = next((letter for letter in "[*?" if letter in str(workdir.resolve())), "")
    if odd:  # to Orbax this path is a pattern: with [ it finds no part of a checkpoint, with others perhaps too many
        raise UserError(f"The work directory {workdir.resolve()} has a {odd!r} in its path; give another --workdir.")
    with writing(f"The work directory {workdir}", "give another --workdir"):
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            pass
    if not (workdir / FILE).exists():
        return
    changed = differences(saved_config(workdir), config)
    if changed:
        raise UserError(
            f"The work directory {workdir} belongs to another config ({'; '.join(changed)}); "
            "give another --workdir, or the config of that run."
        )


def saved_config(workdir: Path) -> Config:
    """The config of the run in a work directory, `completed`; UserError where there is none."""
    path = workdir / FILE
    try:
        return completed(from_json(path.read_text(encoding="utf-8")))
    except OSError:
        raise UserError(f"There is no run in {workdir} ({path} is missing); give the --workdir of a run.") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not the JSON of a config; restore it, or start in another --workdir.") from None


def check_checkpoint(text: str, config: Config, place: str) -> None:
    """Raise UserError where a checkpoint in the folder `place` was saved with another config: `text`, as JSON."""
    changed = differences(completed(from_json(text)), config)
    if changed:
        raise UserError(
            f"The checkpoint {place} was saved with another config ({'; '.join(changed)}); put {FILE} back as it was, "
            "or, if the checkpoint came from another run, remove its folder."
        )


def from_json(text: str) -> Config:
    """The inverse of Config.to_json, but for tuples, which come back as lists; ValueError for anything else."""
    record = json.loads(text)
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    return ConfigDict(record)


def completed(config: Config) -> Config:
    """The config of an earlier version: fields that it did not have yet are set to their defaults, in place.

    The default of a new field is what the package did before, so that earlier runs stay open.
    """
    for name, value in from_json(default_config().to_json()).items():
        if name not in config:
            config[name] = value
        elif isinstance(value, ConfigDict) and isinstance(config[name], ConfigDict):
            config[name].update({field: default for field, default in value.items() if field not in config[name]})
    return config


def differences(before: Config, after: Config) -> list[str]:
    """Fields that differ, as sentences, those that may differ left out."""
    old, new = fields(before), fields(from_json(after.to_json()))
    free = {name for name, setting in settings().items() if setting.free}
    absent = "absent"
    pairs = [(name, old.get(name, absent), new.get(name, absent)) for name in sorted((old.keys() | new.keys()) - free)]
    return [f"{name} was {before}, now {now}" for name, before, now in pairs if before != now]


def join_names(parts: Sequence[str]) -> list[str]:
    """Directories of a list that was split at its commas; one with commas in its name, as a sweep's, is whole again.

    What is no directory, with parts after it or without, stays as it is.
    """
    names, start = [], 0
    while start < len(parts):
        ends = range(start + 1, len(parts) + 1)
        end = next((end for end in ends if Path(",".join(parts[start:end])).is_dir()), start + 1)
        names.append(",".join(parts[start:end]))
        start = end
    return names
