"""A folder of results: made beside its place, and shown when it is whole in the place of an earlier one of its kind.

A JSON object in it, the mark, has the field `kind`, so that nothing else is ever replaced, and the field `files`, the
names of what was written beside it.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ltpml_jax.errors import UserError
from ltpml_jax.runtime.files import writing


class Mark(NamedTuple):
    """What a folder of results is known by: the name of its JSON file, the `kind` in it, and what to call it."""

    file: str
    kind: str
    called: str


def check(out: Path, mark: Mark) -> None:
    """UserError where `out` is something else than a folder with that mark, an empty folder or nothing."""
    try:
        if not out.exists() or (out.is_dir() and (not any(out.iterdir()) or marked(out, mark) is not None)):
            return
    except OSError as error:
        raise UserError(f"The folder {out} cannot be read ({error.strerror}); give another --out.") from None
    raise UserError(f"{out} exists and is no {mark.called}; give another --out.")


def marked(out: Path, mark: Mark) -> dict[str, Any] | None:
    """The mark's content, None where it is missing or of another kind."""
    try:
        found = json.loads((out / mark.file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("kind") == mark.kind else None


@contextlib.contextmanager
def written(out: Path, mark: Mark) -> Iterator[Path]:
    """Yield a folder to write to, whose files replace those of `out` at the end of the block.

    What the mark of `out` names and the block did not write is removed; other files in `out`, such as the corrections
    of an earlier page, stay. `out` stays as it is where the block raises. UserError where it cannot be written.
    """
    out = out.absolute()  # "." has no name
    scratch = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with writing(out, "give another --out"):
            scratch.mkdir(parents=True)
            yield scratch
            out.mkdir(exist_ok=True)
            for name in _listed(out, mark) - {part.name for part in scratch.iterdir()}:
                _remove(out / name)
            for part in sorted(scratch.iterdir(), key=lambda part: part.name == mark.file):  # the mark comes last
                place = out / part.name
                if place.is_dir():
                    _remove(place)
                part.replace(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _listed(out: Path, mark: Mark) -> set[str]:
    """The names in `out` that its mark has as what was written before."""
    names = (marked(out, mark) or {}).get("files")
    there = {path.name for path in out.iterdir()}
    return there & {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
