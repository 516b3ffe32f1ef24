"""From a listing to a prepared dataset: checks every image, writes the shards, and shows the folder when it is whole.

In OUT/lt_pml/NAME/ lie, while a run is under way and after it was killed, `incomplete` (the dataset so far) and
`incomplete.keys` (which of its shards are whole). A dataset on another machine is made in the cache of this one.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from etils import epath
from filelock import Timeout

from ltpml_jax.data import prepared
from ltpml_jax.data.listing import Listing
from ltpml_jax.data.locations import File, is_remote, measure, measure_all
from ltpml_jax.data.writing import bad_images as bad
from ltpml_jax.data.writing import metadata, recipe, shards, workers
from ltpml_jax.errors import UserError
from ltpml_jax.runtime.files import LOCK, cache_home, lock


class Written(NamedTuple):
    """The dataset's metadata (lt_pml.json), and whether it was there before."""

    metadata: dict[str, Any]
    was_there: bool


def write(
    name: str,
    listing: Listing,
    out: epath.PathLike,
    *,
    jobs: int,
    skip_bad: bool = False,
    overwrite: bool = False,
    arguments: Mapping[str, str] | None = None,
) -> Written:
    """Writes the dataset `name` below `out`, with `jobs` processes; `arguments` go into its metadata.

    After a kill, the same call resumes with the shards that are whole. The same listing gives the same bytes. Processes
    are spawned, so with more than one the main module must be guarded by `if __name__ == "__main__"`.

    Raises:
        UserError: images are missing or corrupt (without `skip_bad`), `name` is no name, another dataset is there
            (without `overwrite`), another process is writing it, or the folder cannot be written.
    """
    recipe.check_name(name)
    recipe.check_splits(listing)
    folder = prepared.folder_of(name, out)
    home = Path(workshop(folder) if is_remote(folder) else folder.parent)
    files = {split: measure_all(listed.paths) for split, listed in listing.splits.items()}
    plan = recipe.digest(name, listing, files)
    with locked(home):
        if not overwrite and measure(folder / prepared.METADATA).size >= 0:
            return Written(already(folder, plan), True)
        entries = {"name": name, "plan": plan, "arguments": dict(arguments or {})}
        try:
            return Written(_make(listing, files, home, folder, entries, jobs, skip_bad), False)
        except OSError as error:
            raise UserError(f"Cannot write {folder} ({error}); fix that, and the same command resumes.") from error


def _make(
    listing: Listing,
    files: dict[str, list[File]],
    home: Path,
    folder: epath.Path,
    entries: dict[str, Any],
    jobs: int,
    skip_bad: bool,
) -> dict[str, Any]:
    """Makes the dataset in `home` and shows it as `folder`; returns its metadata, which has the `entries`."""
    rest, skipped = _write_shards(listing, files, home, jobs, skip_bad)
    notes = [*listing.notes, *metadata.disagreement_notes(rest), *bad.changes(listing, rest)]
    metadata.write_info(home / "incomplete", entries["name"], rest)
    written = metadata.write(home / "incomplete", rest, {**entries, "skipped": skipped, "notes": notes})
    publish(home, folder)
    return written


def already(folder: epath.Path, plan: str) -> dict[str, Any]:
    """The metadata of the dataset that is there; UserError where it was made of something else than `plan`."""
    metadata = prepared.read_metadata(folder)
    if metadata["plan"] != plan:
        raise UserError(
            f"{folder} holds another dataset (its labels or images differ from these); give --overwrite to replace it, "
            "or another --out or --dataset."
        )
    return metadata


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Holds the folder's lock; UserError where another process does."""
    with contextlib.ExitStack() as stack:
        try:
            home.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock(home / LOCK, wait=False))
        except Timeout:
            raise UserError(f"Another process is preparing {home}; wait for it, or give another --out.") from None
        except OSError as error:
            raise UserError(f"Cannot write {home} ({error.strerror}); give another --out.") from error
        yield


def workshop(folder: epath.Path) -> Path:
    """Where on this machine a remote dataset is put together."""
    return cache_home() / "prepare" / hashlib.sha256(str(folder).encode()).hexdigest()[:32]


def _write_shards(
    listing: Listing, files: dict[str, list[File]], home: Path, jobs: int, skip_bad: bool
) -> tuple[Listing, list[dict[str, str]]]:
    """Writes the shards; the listing of what they hold, and the images that were left out, each with its reason."""
    folder, keys = home / "incomplete", home / "incomplete.keys"
    for place in (folder, keys):
        place.mkdir(exist_ok=True)
    skipped: list[dict[str, str]] = []
    while True:
        plan = [
            shard
            for split, listed in listing.splits.items()
            for shard in shards.cut(split, listed, files[split], listing.class_names)
        ]
        faults = workers.write_all(plan, folder, keys, jobs)
        if not faults:
            break
        found = bad.named(listing, faults)
        if not skip_bad:
            raise bad.refuse(found, listing, home)
        skipped += found
        listing, files = bad.without(listing, files, faults)
    _clear(folder, {shard.name for shard in plan})
    return listing, skipped


def _clear(folder: Path, wanted: set[str]) -> None:
    """Removes what an earlier run with another plan left there."""
    for file in folder.iterdir():
        if file.name not in wanted:
            file.unlink()


def publish(home: Path, folder: epath.Path) -> None:
    """Shows the whole dataset under its name: by one rename here, or, elsewhere, by a copy whose last file counts."""
    whole = home / "incomplete"
    if is_remote(folder):
        if folder.exists():
            folder.rmtree()
        folder.mkdir(parents=True)
        for file in sorted(whole.iterdir(), key=lambda file: file.name == prepared.METADATA):
            epath.Path(file).copy(folder / file.name)
        shutil.rmtree(whole)
    else:
        replaced = home / "replaced"
        shutil.rmtree(replaced, ignore_errors=True)
        if folder.exists():
            folder.rename(replaced)
        whole.rename(folder)
        shutil.rmtree(replaced, ignore_errors=True)
    shutil.rmtree(home / "incomplete.keys")
    (home / bad.FILE).unlink(missing_ok=True)
