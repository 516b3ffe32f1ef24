"""Reads pickles of plain data without the power to run what is in them.

Python's own reader imports and calls what a pickle names. This one has no import in it: a machine of its own walks the
opcodes (which the standard library's `pickletools` decodes), a call reaches only the few functions of `values`,
and memory is accounted for before it is taken.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ltpml_jax.errors import UserError
from ltpml_jax.safe_pickle.limits import Budget, RefusedError, check_whole
from ltpml_jax.safe_pickle.machine import Machine
from ltpml_jax.safe_pickle.values import plain_names

LIMIT = 512 * 2**20  # bytes of what a pickle may become
_NPY_HEADER = 10_000  # bytes; NumPy's own bound for the header of a file that nobody vouches for


def read(
    data: bytes,
    what: str,
    extra: Mapping[tuple[str, str], Any] | None = None,
    persistent_load: Callable[[Any], Any] | None = None,
    limit: int = LIMIT,
) -> Any:
    """What a pickle of plain data describes.

    Args:
        data: the pickle, of any protocol (0 to 5) and of Python 2 or 3 (byte strings of 2 are read as latin-1).
        what: names the source in messages.
        extra: what further (module, name) pairs stand for; a pickle may call those that are functions.
        persistent_load: gets a persistent id, returns what it stands for; None refuses such ids.
        limit: bytes that the result may take, counted as if nothing in it were shared, and that reading may take.

    Returns:
        None, booleans, numbers, strings, bytes, lists, tuples, dicts and sets of them, numeric NumPy arrays, object
        arrays of all this, and what `extra` makes. NumPy's scalars become Python's numbers.

    Raises:
        UserError: the pickle names anything else, is damaged, or describes too much, too deep nesting, or itself.
    """
    budget = Budget(limit)
    try:
        machine = Machine(plain_names(budget) | dict(extra or {}), persistent_load, budget)
        result = machine.run(data)
        check_whole(result, machine.is_internal, budget)
    except UserError:  # of `extra` or `persistent_load`
        raise
    except RefusedError as error:
        raise UserError(f"{what} {error}.") from None
    except MemoryError:
        raise UserError(f"{what} {budget.exhausted()}.") from None
    except Exception as error:  # opcodes in an order that no pickle has fail in any way
        raise UserError(f"{what} is no sound pickle ({_reason(error)}); copy it again.") from None
    return result


def load(path: str | Path, limit: int = LIMIT) -> Any:
    """What the file describes; see `read`, whose errors it has, and UserError for a file that cannot be read."""
    return read(_content(path, limit), str(path), limit=limit)


def load_npy(path: str | Path, limit: int = LIMIT) -> Any:
    """What an .npy file holds: a numeric array, or an array of objects (of shape (): the object itself).

    Raises:
        UserError: the file cannot be read, is no .npy file, or holds a pickle that `read` refuses.
    """
    data, what = _content(path, limit), str(path)
    try:
        shape, fortran, dtype, start = _npy_header(data)
        if dtype != np.dtype(object):
            return _numbers(data[start:], shape, fortran, dtype)
    except Exception as error:  # NumPy evaluates the header as a literal, which fails in any way
        raise UserError(f"{what} is no sound .npy file ({_reason(error)}); save it with numpy.save again.") from None
    held = read(data[start:], what, limit=limit)
    return held.item() if isinstance(held, np.ndarray) and held.shape == () else held


def _content(path: str | Path, limit: int) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give the path of a file that is there.") from None
    if len(data) > limit:
        raise UserError(f"{path} {Budget(limit).exhausted()}.")
    return data


def _npy_header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether in Fortran's order, type, and where the content begins."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"its version is {version}")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(stream, max_header_size=_NPY_HEADER)
    return shape, fortran, dtype, stream.tell()


def _numbers(content: bytes, shape: tuple[int, ...], fortran: bool, dtype: np.dtype) -> np.ndarray:
    if dtype.kind not in "biufc":
        raise ValueError(f"its type is {dtype}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C").copy(order="K")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:120]
    return text if text and text.isprintable() else type(error).__name__
