"""A checksum of every file of a checkpoint, since Orbax and its store read a flipped bit in an array as a number.

The list is written after everything else: a checkpoint without it belongs to a run that was killed before that.
"""

import json
import zlib
from pathlib import Path

from ltpml_jax.runtime.files import write_atomic

FILE = "checksums.json"
_PIECE = 2**24  # bytes that are read at a time


def seal(folder: Path) -> None:
    """Write the checksums of all files below a checkpoint's folder; OSError where the disk is full."""
    sums = {str(path.relative_to(folder)): _checksum(path) for path in _files(folder)}
    write_atomic(folder / FILE, json.dumps(sums, indent=0, sort_keys=True))


def sealed(folder: Path) -> bool:
    """Whether a checkpoint's list is there."""
    return (folder / FILE).exists()


def broken(folder: Path) -> str:
    """What is wrong with the files of a checkpoint, a clause for people; "" where nothing is."""
    path = folder / FILE
    if not path.exists():
        return f"{FILE} is missing"
    try:
        for name, expected in json.loads(path.read_text()).items():
            if not (folder / name).exists():
                return f"{name} is missing"
            if _checksum(folder / name) != expected:
                return f"{name} is not as it was saved"
    except (OSError, ValueError, AttributeError) as error:
        return f"{FILE} or a file that it names cannot be read: {error}"
    return ""


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(FILE))


def _checksum(path: Path) -> list[int]:
    """Its size in bytes and its CRC-32."""
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            crc = zlib.crc32(piece, crc)
    return [path.stat().st_size, crc]
