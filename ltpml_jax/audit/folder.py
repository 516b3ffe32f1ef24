"""The folder of an audit: made beside its place, and shown when it is whole in the place of an earlier audit."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ltpml_jax.audit.entries import KIND, SUMMARY
from ltpml_jax.errors import UserError


def check(out: Path) -> None:
    """UserError where `out` is something else than an audit, an empty folder or nothing."""
    if not out.exists():
        return
    try:
        if out.is_dir() and (not any(out.iterdir()) or _is_audit(out)):
            return
    except OSError as error:
        raise UserError(f"The folder {out} cannot be read ({error.strerror}); give another --out.") from None
    raise UserError(f"{out} exists and is no audit; give another --out.")


def _is_audit(out: Path) -> bool:
    try:
        found = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("kind") == KIND


@contextlib.contextmanager
def written(out: Path) -> Iterator[Path]:
    """Yield a folder to write to, whose files replace those of `out` at the end of the block.

    Files of other names in `out`, such as the corrections of an earlier page, stay. `out` stays as it is where the
    block raises. UserError where it cannot be written.
    """
    scratch = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        scratch.mkdir(parents=True)
        yield scratch
        out.mkdir(exist_ok=True)
        for part in sorted(scratch.iterdir(), key=lambda part: part.name == SUMMARY):  # what marks an audit comes last
            place = out / part.name
            if place.is_dir():
                shutil.rmtree(place)
            part.replace(place)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error}); give another --out.") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
