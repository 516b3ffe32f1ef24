"""Which images are meant: files, folders, or tables with a column of paths."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ltpml_jax.data.readers import tables, text_table
from ltpml_jax.data.readers.text_table import Table
from ltpml_jax.errors import UserError
from ltpml_jax.runtime.files import expanded

TABLES = (".csv", ".jsonl", ".parquet", ".tsv")  # the last is refused as a table, not as an image
# Of the images that a folder is searched for; a file that is named itself may end as it likes.
IMAGES = (".avif", ".bmp", ".dib", ".gif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
          ".ras", ".sr", ".tif", ".tiff", ".webp")  # fmt: skip


class Images(NamedTuple):
    """places: where each image lies, by its name in the output, in order; notes: lines on how the inputs were read."""

    places: dict[str, Path]
    notes: list[str]


def find(inputs: Iterable[str], images: str = "") -> Images:
    """The images of all inputs, each once.

    A file is called as it was given, one in a folder by the folder and the way to it, one in a table as the table
    writes it; relative paths in a table lie below `images`, or beside the table where that is "". Folders are searched
    to any depth, sorted; what is hidden, and files that end in none of IMAGES, are left out.

    Raises:
        UserError: an input does not exist or holds no image, a table has no column of paths or several, or two images
            have one name.
    """
    places: dict[str, Path] = {}
    notes: list[str] = []
    for one in (expanded(name) for name in inputs):
        some = False
        for name, place in _of(one, images, notes):
            some = True
            if places.setdefault(name, place) != place:
                both = f"{places[name]} and {place}"
                raise UserError(f"Two images are called {name!r} ({both}); predict them one after the other.")
        if not some:
            raise UserError(f"There is no image in {one}; name image files, folders with some, or a table of paths.")
    return Images(places, notes)


def path_column(table: Table) -> str:
    """The one of tables.PATHS that a table has; UserError where it has none or several."""
    there = tables.path_columns(table)
    if len(there) == 1:
        return there[0]
    if there:
        what = f"several columns of paths ({', '.join(there)})"
    else:
        what = f"none of the columns {', '.join(tables.PATHS)}"
    raise UserError(f"The table {table.path} has {what}; keep one, for the paths of the images.")


def _of(place: Path, images: str, notes: list[str]) -> Iterator[tuple[str, Path]]:
    if place.is_dir():
        yield from ((printable(str(path)), path) for path in sorted(_inside(place)))
    elif not place.exists():
        raise UserError(f"There is no file or folder {place}; name images, folders, or a table of paths.")
    elif place.suffix.lower() in TABLES:
        yield from _of_table(place, images, notes)
    else:
        yield printable(str(place)), place


def printable(text: str) -> str:
    """A text with the bytes of a file's name that are not UTF-8 as \\xNN, so that it can be written."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _inside(folder: Path) -> Iterator[Path]:
    """The images below a folder, each once; links to other folders are followed."""
    seen: set[str] = set()
    for where, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(where)) in seen:  # a link back to where it lies
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        named = (Path(where, name) for name in files if not name.startswith("."))
        images = (path for path in named if path.suffix.lower() in IMAGES)
        yield from (path for path in images if path.is_file() or not path.exists())  # a dangling link: an error


def _of_table(place: Path, images: str, notes: list[str]) -> Iterator[tuple[str, Path]]:
    table = text_table.read(str(place), "--input")
    column, home = path_column(table), expanded(images) if images else place.parent
    notes.append(f"{place}: paths are in the column {column!r}, relative to {home}.")
    for row, name in enumerate(table.text(column).to_pylist()):
        if not name:
            raise UserError(f"{table.place(row)} names no image; fill in the column {column!r}.")
        yield name, home / name
