"""Sizes of files, on this machine or wherever etils.epath reaches."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from etils import epath

from ltpml_jax.errors import UserError


class File(NamedTuple):
    """Bytes of a file and when it last changed, in seconds; -1 bytes where there is no such file."""

    size: int
    changed: float


def is_remote(path: epath.PathLike) -> bool:
    """Whether the path is on another machine (gs://...); ArrayRecord opens files on this one only."""
    return "://" in os.fspath(path)


def check_reachable(path: epath.PathLike) -> None:
    """Raises UserError where the path is on another machine and the client for it is not installed."""
    try:
        epath.Path(path).exists()
    except ImportError as error:
        raise UserError(f"{path} needs a client that is not installed ({error}); install it.") from error


def measure(path: epath.PathLike) -> File:
    """Size and time of change of one file."""
    try:
        if not is_remote(path):  # epath's own stat fails for owners whom this machine does not know
            found = os.stat(path)
            return File(found.st_size, found.st_mtime) if stat.S_ISREG(found.st_mode) else File(-1, 0.0)
        there = epath.Path(path).stat()
    except OSError:
        return File(-1, 0.0)
    return File(-1, 0.0) if there.is_directory else File(there.length, float(there.mtime or 0))


def measure_all(paths: list[str]) -> list[File]:
    """`measure` of each, in threads, because a remote file takes its time."""
    with ThreadPoolExecutor(16) as threads:
        return list(threads.map(measure, paths))
