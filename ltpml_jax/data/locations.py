"""Files on this machine or wherever etils.epath reaches: whether it does, their names and sizes, and reading them."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from etils import epath

from ltpml_jax.errors import UserError
from ltpml_jax.runtime.files import check_regular

# In place of a number of bytes; STRANGE are pipes, devices and sockets.
MISSING, FOLDER, STRANGE = -1, -2, -3


class File(NamedTuple):
    """Bytes of a file and when it last changed, in seconds; MISSING, FOLDER or STRANGE bytes where there is none."""

    size: int
    changed: float


def unwritable(text: str) -> str:
    """What a text holds that no file name and no metadata can, in a few words; "" for any other text."""
    if "\0" in text:
        return "a NUL character"
    return "half of a character (a lone surrogate)" if any("\ud800" <= one <= "\udfff" for one in text) else ""


def is_remote(path: epath.PathLike) -> bool:
    """Whether the path is on another machine (gs://...); ArrayRecord opens files on this one only."""
    return "://" in os.fspath(path)


def unreachable(path: epath.PathLike) -> str:
    """Why a path on another machine cannot be opened from here, with a remedy; "" where it can, or is on this one."""
    if not is_remote(path):
        return ""
    try:
        epath.Path(path).exists()
    except ImportError as error:
        return f"needs a client that is not installed ({error}); install it"
    except KeyError:  # etils knows four kinds of addresses
        return "is an address that cannot be opened as a file; fetch what it names, and give the path of that"
    except Exception as error:  # each client has kinds of its own for a refusal or a network that is not there
        return f"cannot be reached ({type(error).__name__}: {' '.join(str(error).split())[:200]}); try again"
    return ""


def check_reachable(path: epath.PathLike) -> None:
    """Raises UserError where the path is on another machine and cannot be opened from here."""
    why = unreachable(path)
    if why:
        raise UserError(f"{path} {why}.")


def read_bytes(path: epath.PathLike) -> bytes:
    """The content of a file; OSError also where it is no regular one.

    Raises UserError where it is on another machine and cannot be opened from here.
    """
    check_reachable(path)
    if not is_remote(path):
        check_regular(path)
    return epath.Path(path).read_bytes()


def measure(path: epath.PathLike) -> File:
    """Size and time of change of one file."""
    try:
        if not is_remote(path):  # epath's own stat fails for owners whom this machine does not know
            found = os.stat(path)
            if stat.S_ISREG(found.st_mode):
                return File(found.st_size, found.st_mtime)
            return File(FOLDER if stat.S_ISDIR(found.st_mode) else STRANGE, 0.0)
        there = epath.Path(path).stat()
    except OSError:
        return File(MISSING, 0.0)
    return File(FOLDER, 0.0) if there.is_directory else File(there.length, float(there.mtime or 0))


def measure_all(paths: list[str]) -> list[File]:
    """`measure` of each, in threads, because a remote file takes its time."""
    with ThreadPoolExecutor(16) as threads:
        return list(threads.map(measure, paths))
