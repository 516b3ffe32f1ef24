"""A checksum of every file of a checkpoint, since Orbax and its store read a flipped bit in an array as a number.

The list is written after everything else: a checkpoint without it belongs to a run that was killed before that. The
processes of a run share the reading; all of them call `seal` and `broken`.
"""

import json
import zlib
from pathlib import Path

import jax

from ltpml_jax.errors import SharedError, UserError
from ltpml_jax.runtime import processes
from ltpml_jax.runtime.files import write_atomic

FILE = "checksums.json"
_PIECE = 2**24  # bytes that are read at a time

Sums = dict[str, list[int] | str]  # by file: its size in bytes and its CRC-32, or why it cannot be read


def seal(folder: Path) -> None:
    """Write the checksums of all files below a checkpoint's folder.

    Raises UserError (in a run of several processes its SharedError) where a file cannot be read, or the disk is full.
    """
    sums = _read(folder, json.loads(processes.from_first(lambda: json.dumps(_sizes(folder)))))
    for name, found in sums.items():
        if isinstance(found, str):
            raise SharedError(f"{name} cannot be read: {found}")
    processes.together(lambda: _write(folder, sums) if processes.is_first() else None)


def sealed(folder: Path) -> bool:
    """Whether a checkpoint's list is there."""
    return (folder / FILE).exists()


def broken(folder: Path) -> str:
    """What is wrong with the files of a checkpoint, a clause for people, the same in all processes; "" for nothing."""
    listed = json.loads(processes.from_first(lambda: json.dumps(_listed(folder))))
    if isinstance(listed, str):
        return listed
    found = _read(folder, {name: size for name, (size, _) in listed.items()})
    for name in sorted(listed):
        if isinstance(found[name], str):
            return f"{name} is missing" if "[Errno 2]" in found[name] else f"{name} cannot be read: {found[name]}"
        if found[name] != listed[name]:
            return f"{name} is not as it was saved"
    return ""


def share(sizes: dict[str, int], number: int, count: int) -> list[str]:
    """The files that process `number` of `count` reads; sizes are in bytes. Every file is in one share.

    The largest first, each file goes to the process that has the fewest bytes so far.
    """
    loads, names = [0] * count, []
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        least = loads.index(min(loads))
        loads[least] += sizes[name] + 1  # opening an empty file takes time too
        if least == number:
            names.append(name)
    return names


def _sizes(folder: Path) -> dict[str, int]:
    files = [path for path in folder.rglob("*") if path.is_file() and FILE not in path.name]
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def _write(folder: Path, sums: Sums) -> None:
    try:
        write_atomic(folder / FILE, json.dumps(sums, indent=0, sort_keys=True))
    except OSError as error:
        raise UserError(str(error)) from error


def _listed(folder: Path) -> dict[str, list[int]] | str:
    """The list, or what is wrong with it."""
    try:
        listed = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {name: [int(size), int(crc)] for name, (size, crc) in listed.items()}
    except FileNotFoundError:
        return f"{FILE} is missing"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"{FILE} cannot be read: {error}"


def _read(folder: Path, sizes: dict[str, int]) -> Sums:
    """The checksums of the named files, each read by one process; the same in all."""
    mine = share(sizes, jax.process_index(), jax.process_count())
    sums: Sums = {}
    for part in processes.exchange(json.dumps({name: _checksum(folder / name) for name in mine})):
        sums |= json.loads(part)
    unseen = [name for name, found in sums.items() if isinstance(found, str)]
    if unseen:  # a network file system may show a new file to the host of process 0 first, which listed it
        sums |= json.loads(
            processes.from_first(lambda: json.dumps({name: _checksum(folder / name) for name in unseen}))
        )
    return sums


def _checksum(path: Path) -> list[int] | str:
    size = crc = 0
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                size, crc = size + len(piece), zlib.crc32(piece, crc)
    except (OSError, ValueError) as error:  # ValueError: a damaged list may name what is no path
        return str(error)
    return [size, crc]
