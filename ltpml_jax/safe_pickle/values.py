"""What the names in a pickle of plain data stand for: a handful of functions that only make data."""

import math
import re
from functools import partial
from typing import Any

import numpy as np

from ltpml_jax.safe_pickle.limits import Budget, RefusedError, check_key, forbidden

_DTYPE = re.compile(r"[<>=|]?([biu]1|[iu][248]|f[248]|c8|c16|\?)|[|]?O8?")
_SET_ITEM, _DICT_ITEM = 100, 150  # bytes, at most, that an element takes


class Dtype:
    """A NumPy type on its way: its byte order follows after its creation."""

    def __init__(self, name: Any, *flags: Any) -> None:
        """A numeric type such as "i8", or "O8"; RefusedError for any other."""
        if not (isinstance(name, str) and _DTYPE.fullmatch(name)):
            kind = repr(name[:40]) if isinstance(name, str) else type(name).__name__
            raise RefusedError(f"holds an array of type {kind}; save it again with numbers only")
        self.dtype = np.dtype(object if "O" in name else name)

    def build(self, state: Any) -> None:
        """Takes the byte order from NumPy's tuple (version, order, subtype, names, fields, ...)."""
        _, order, *structure = state
        if order not in ("<", ">", "=", "|") or any(part is not None for part in structure[:3]):
            raise ValueError("a NumPy type of an unknown kind")
        if order in "<>" and not self.dtype.hasobject:
            self.dtype = self.dtype.newbyteorder(order)


def plain_names(budget: Budget) -> dict[tuple[str, str], Any]:
    """(module, name) -> what it stands for; what they make is paid for from `budget`."""
    found: dict[tuple[str, str], Any] = {
        ("_codecs", "encode"): partial(encode, budget),
        ("collections", "OrderedDict"): partial(ordered_dict, budget),
        ("numpy", "dtype"): Dtype,
        ("numpy", "ndarray"): ndarray,
    }
    for module in ("builtins", "__builtin__"):
        found[module, "set"] = partial(elements, budget, set)
        found[module, "frozenset"] = partial(elements, budget, frozenset)
        found[module, "bytes"] = partial(byte_string, budget, bytes)
        found[module, "bytearray"] = partial(byte_string, budget, bytearray)
        found[module, "complex"] = complex_number
    for package in ("numpy.core", "numpy._core"):
        found[f"{package}.multiarray", "_reconstruct"] = empty_array
        found[f"{package}.multiarray", "scalar"] = partial(scalar, budget)
        found[f"{package}.numeric", "_frombuffer"] = partial(array_of_buffer, budget)
    return found


def encode(budget: Budget, text: Any, encoding: Any = "latin1") -> bytes:
    """How protocols 0 to 2 write bytes: as text."""
    if not (isinstance(text, str) and encoding in ("latin1", "latin-1")):
        raise forbidden("_codecs.encode with an encoding that is not latin1")
    budget.spend(len(text) + 64)
    return text.encode("latin-1")


def byte_string(budget: Budget, kind: type, content: Any = b"", encoding: Any = "latin-1") -> bytes | bytearray:
    """Bytes of bytes, or of text; not of a number, which would be a length."""
    budget.spend(2 * len(content) + 128)
    return kind(_as_bytes(content) if encoding in ("latin1", "latin-1") else None)


def complex_number(real: Any, imaginary: Any) -> complex:
    """A complex number of two floats."""
    return complex(real, imaginary)


def elements(budget: Budget, kind: type, items: Any = ()) -> set[Any] | frozenset[Any]:
    """A set of the elements of a list."""
    budget.spend(_SET_ITEM * len(items) + 400)
    return kind(check_key(item) for item in items)


def ordered_dict(budget: Budget, items: Any = ()) -> dict[Any, Any]:
    """A dict of pairs, as all dicts are ordered today."""
    budget.spend(_DICT_ITEM * len(items) + 300)
    return {check_key(key): value for key, value in items}


def ndarray(*_: Any) -> None:
    """Stands for the type numpy.ndarray, which plain data names and does not call."""
    raise forbidden("a call of numpy.ndarray")


def empty_array(kind: Any, *_: Any) -> np.ndarray:
    """What an array begins as; `fill_array` does the rest."""
    if kind is not ndarray:
        raise forbidden("an array that is no numpy.ndarray")
    return np.empty(0, np.int8)


def fill_array(budget: Budget, array: np.ndarray, state: Any) -> None:
    """Gives shape, type and content to an array of `empty_array`; no other can be changed."""
    *_, shape, kind, fortran, content = state
    dtype, count = _dtype(kind), _count(shape)
    if array.shape != (0,) or array.dtype != np.int8:
        raise ValueError("an array that is filled twice")
    if not dtype.hasobject:
        content = _exactly(budget, content, count * dtype.itemsize)
    elif type(content) is not list or len(content) != count:
        raise ValueError("an array of objects without its objects")
    budget.spend(8 * count if dtype.hasobject else 0)
    array.__setstate__((1, shape, dtype, bool(fortran), content))  # pyright: ignore[reportArgumentType]


def array_of_buffer(budget: Budget, content: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
    """An array as protocol 5 writes it."""
    dtype, count = _dtype(kind), _count(shape)
    if dtype.hasobject or order not in ("C", "F", "K"):
        raise ValueError("a buffer of an unknown kind")
    flat = np.frombuffer(_exactly(budget, content, count * dtype.itemsize), dtype)
    array = flat.reshape(shape, order="F" if order == "F" else "C")
    return (array if axes is None else array.transpose(axes)).copy(order="K")


def scalar(budget: Budget, kind: Any, content: Any) -> Any:
    """A NumPy scalar as a Python number."""
    dtype = _dtype(kind)
    if dtype.hasobject:
        raise forbidden("a scalar of objects")
    return np.frombuffer(_exactly(budget, content, dtype.itemsize), dtype)[0].item()


def _exactly(budget: Budget, content: Any, size: int) -> bytes:
    """Content of the size in bytes that shape and type ask for."""
    if len(content) != size:
        raise ValueError(f"{len(content)} bytes for an array of {size}")
    budget.spend(3 * size + 128)  # as bytes, as an array, and once more on the way
    return bytes(_as_bytes(content))


def _as_bytes(content: Any) -> bytes | bytearray:
    if isinstance(content, str):  # Python 2 keeps bytes in its strings
        return content.encode("latin-1")
    if not isinstance(content, bytes | bytearray):
        raise TypeError(f"bytes that are of type {type(content).__name__}")
    return content


def _dtype(kind: Any) -> np.dtype:
    if not isinstance(kind, Dtype):
        raise TypeError("an array without a type")
    return kind.dtype


def _count(shape: Any) -> int:
    if not (type(shape) is tuple and len(shape) <= 32 and all(type(side) is int and side >= 0 for side in shape)):
        raise ValueError("an array without a shape")
    return math.prod(shape)
