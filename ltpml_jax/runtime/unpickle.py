"""Reads pickles of plain data: the standard library's unpickler, restricted to plain containers and a few functions.

`pickle._Unpickler` is the one that is written in Python. All that a pickle can call are the functions of `_NAMES`,
which make data; it creates no instance of a class and sets no attribute.
"""

import errno
import io
import math
import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from ltpml_jax.errors import UserError
from ltpml_jax.runtime.files import check_regular

LIMIT = 512 * 2**20  # bytes: of a file, and of what it describes with shared parts counted each time
REMEDY = "get it again from a source that you trust, or save it again as plain containers and numeric arrays"
_DEEPEST = 100  # containers within containers; Python's own recursion ends at 1000
_DTYPE = re.compile(r"[<>=|]?([biu]1|[iu][248]|f[248]|c8|c16|\?)|[|]?O8?")
_SIZED = str | bytes | bytearray | list | tuple | dict | set | frozenset
_Unpickler: Any = pickle._Unpickler  # pyright: ignore[reportAttributeAccessIssue]


def read(
    data: bytes,
    what: str,
    extra: Mapping[tuple[str, str], Any] | None = None,
    persistent_load: Callable[[Any], Any] | None = None,
    remedy: str = REMEDY,
) -> Any:
    """What a pickle of any protocol, of Python 3 or 2 (byte strings are read as latin-1), describes.

    Args:
        data: the pickle.
        what: names its source in error sentences; `remedy` ends them.
        extra: what further (module, name) pairs stand for; a pickle may call those that are functions.
        persistent_load: gets a persistent id, returns what it stands for; None refuses such ids.

    Returns:
        None, booleans, numbers, strings, bytes, lists, tuples, dicts and sets of them, numeric NumPy arrays, object
        arrays of all this, and what `extra` makes. NumPy's scalars become Python's numbers.

    Raises:
        UserError: the pickle names anything else, is damaged, or describes too much, too deep nesting, or itself.
    """
    with _one_sentence(what, remedy):
        if len(data) > LIMIT:
            raise ValueError(f"it is larger than {LIMIT / 2**20:g} MiB")
        value = _Reader(data, {**_NAMES, **(extra or {})}, persistent_load).load()
        _measure(value, {})
        return value


def load(path: str | Path) -> Any:
    """What a file describes; see `read`. Raises UserError also where the file cannot be read."""
    return read(_content(path), str(path))


def load_npy(path: str | Path) -> Any:
    """What an .npy file holds: a numeric array, or an array of objects (of shape (): the object itself).

    Raises:
        UserError: the file cannot be read, is no .npy file, or holds a pickle that `read` refuses.
    """
    stream = io.BytesIO(_content(path))
    with _one_sentence(str(path), REMEDY):
        headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = headers[np.lib.format.read_magic(stream)](stream)
        if not dtype.hasobject:
            return _numbers(stream.read(), dtype, shape, "F" if fortran else "C")
    held = read(stream.read(), str(path))
    return held.item() if isinstance(held, np.ndarray) and held.shape == () else held


def _content(path: str | Path) -> bytes:
    try:
        check_regular(path)
        if os.stat(path).st_size > LIMIT:
            raise OSError(errno.EFBIG, f"it has more than {LIMIT / 2**20:g} MiB")
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give the path of another file.") from None


@contextmanager
def _one_sentence(what: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except UserError:  # of `extra` or `persistent_load`
        raise
    except Exception as error:  # opcodes in an order that no pickle has fail in any way
        text = " ".join(str(error).split())[:250]
        text = text if text and text.isprintable() else type(error).__name__
        reason = text if text.startswith("it ") else f"it is damaged: {text}"
        raise UserError(f"{what} is not sound plain data ({reason}); {remedy}.") from None


def _measure(value: Any, known: dict[int, tuple[int, int]], depth: int = 0) -> tuple[int, int]:
    """Levels of containers, and bytes with shared parts counted each time, of plain data; ValueError for other.

    A list that holds one list twice, which holds one list twice, and so on, is small until it is printed or copied.
    """
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return 0, 0 if isinstance(value.base, memoryview) else value.nbytes  # memory of the caller is free
    if isinstance(value, NoneType | str | bytes | bytearray | int | float | complex):
        return 0, sys.getsizeof(value)
    if not isinstance(value, _SIZED | np.ndarray):
        raise ValueError(f"it holds a bare {type(value).__name__}")
    if id(value) not in known:
        levels, size = 0, sys.getsizeof(value)
        parts = value.ravel().tolist() if isinstance(value, np.ndarray) else value
        for part in [*parts, *parts.values()] if isinstance(parts, dict) else parts:
            inner = _measure(part, known, depth + 1) if depth < _DEEPEST else (_DEEPEST, 0)
            levels, size = max(levels, inner[0]), size + inner[1]
            if levels >= _DEEPEST or size > LIMIT:
                raise ValueError(f"it describes over {LIMIT / 2**20:g} MiB or {_DEEPEST} levels of data, or itself")
        known[id(value)] = levels + 1, size
    return known[id(value)]


def _encoded(text: Any = b"", encoding: Any = "latin1") -> bytes:
    """Bytes, which protocols 0 to 2 write as text."""
    if not isinstance(text, str | bytes | bytearray) or encoding not in ("latin1", "latin-1"):
        raise ValueError("it asks for bytes of something that is no text, or in an encoding that is not latin-1")
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)


def _key(key: Any) -> Any:
    # Hashing nested tuples may never end; integers above Python's modulus of 61 bits could all have the same hash.
    if not isinstance(key, NoneType | str | bytes | int | float) or (isinstance(key, int) and key.bit_length() > 63):
        raise ValueError("it has a dict's key or a set's element that is no string and no number below 2**63")
    return key


def _fill(target: Any, items: Any) -> Any:
    """Puts items into a list, a set or (a key and a value in turn) a dict; returns that."""
    if type(target) is list:
        target.extend(items)
    elif type(target) is set:
        target.update(map(_key, items))
    elif type(target) is dict:
        target.update(zip(map(_key, items[::2]), items[1::2], strict=True))
    else:
        raise ValueError(f"it puts elements into a {type(target).__name__}")
    return target


def _dtype(name: Any, *_: Any) -> np.dtype:
    if not (isinstance(name, str) and _DTYPE.fullmatch(name)):
        raise ValueError("it has an array that is neither of numbers nor of objects")
    return np.dtype(object if "O" in name else name, copy=True)  # a copy, since `load_build` sets its byte order


def _shape(sides: Any) -> tuple[int, ...]:
    if type(sides) is not tuple or any(type(side) is not int or side < 0 for side in sides):
        raise ValueError("it has an array without a shape")
    if math.prod(sides) == 0 and math.prod(side or 1 for side in sides) > 2**20:
        raise ValueError(f"it has an array of no bytes and of shape {sides}")
    return sides


def _numbers(content: Any, dtype: np.dtype, shape: Any, order: Any = "C", axes: Any = None) -> np.ndarray:
    """An array as protocol 5 and .npy files write it."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biufc":
        raise ValueError("it has an array that is not of numbers")
    array = np.frombuffer(_encoded(content), dtype).reshape(_shape(shape), order="F" if order == "F" else "C")
    return (array if axes is None else array.transpose(axes)).copy(order="K")


_NAMES = {
    ("_codecs", "encode"): _encoded,
    ("builtins", "bytearray"): lambda *content: bytearray(_encoded(*content)),
    ("builtins", "bytes"): _encoded,
    ("builtins", "complex"): lambda real, imaginary: complex(float.__pos__(real), float.__pos__(imaginary)),
    ("builtins", "frozenset"): lambda items=(): frozenset(_fill(set(), items)),
    ("builtins", "set"): lambda items=(): _fill(set(), items),
    ("collections", "OrderedDict"): lambda pairs=(): {_key(key): value for key, value in pairs},
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): object(),  # a pickled array names the class and does not call it
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: np.empty(0, np.int8),  # `load_build` does the rest
    ("numpy.core.multiarray", "scalar"): lambda dtype, content: _numbers(content, dtype, ()).item(),
    ("numpy.core.numeric", "_frombuffer"): _numbers,
}


class _Reader(_Unpickler):
    """Reads one pickle; the methods that begin with load_ stand in for the library's."""

    def __init__(self, data: bytes, names: Mapping[tuple[str, str], Any], load: Callable[[Any], Any] | None) -> None:
        super().__init__(io.BytesIO(data), encoding="latin-1")
        self.names, self.load_id = names, load
        # Content is copied two or three times on its way; a hostile pickle hands one text to a million calls.
        self.left = 4 * len(data) + 2**16

    def pay(self, arguments: Any) -> None:
        """Raises ValueError where calls have copied more than a pickle of this length needs."""
        self.left -= sum(len(argument) for argument in arguments if isinstance(argument, _SIZED))
        if self.left < 0:
            raise ValueError("it copies its parts again and again")

    def find_class(self, module: str, name: str) -> Any:
        known = module.replace("__builtin__", "builtins").replace("numpy._core", "numpy.core"), name
        if known not in self.names:
            raise ValueError(f"it asks for {f'{module}.{name}'[:120]!r}, which could run code")
        return self.names[known]

    def persistent_load(self, pid: Any) -> Any:
        _measure(pid, {})
        if self.load_id is None:
            raise ValueError("it asks for a persistent id")
        return self.load_id(pid)

    def load_reduce(self) -> None:
        self.pay(self.stack[-1])
        super().load_reduce()

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, np.dtype):
            if state[1] in ("<", ">") and not target.hasobject:
                target.__setstate__((3, state[1], None, None, None, -1, -1, 0))  # pyright: ignore
        elif isinstance(target, np.ndarray) and target.shape == (0,) and target.dtype == np.int8:
            self.pay(state)
            *_, shape, dtype, fortran, content = state
            content = content if type(content) is list else _encoded(content)
            size = math.prod(_shape(shape)) * (1 if dtype.hasobject else dtype.itemsize)
            if dtype.hasobject != (type(content) is list) or len(content) != size:
                raise ValueError("it has an array whose content does not fit its type and shape")
            target.__setstate__((1, shape, dtype, bool(fortran), content))  # pyright: ignore[reportArgumentType]
        elif not isinstance(target, dict):  # a dict's attributes are left out
            raise ValueError(f"it sets the attributes of a {type(target).__name__}")

    def load_append(self) -> None:
        item = self.stack.pop()
        _fill(self.stack[-1], [item])

    def load_appends(self) -> None:
        items = self.pop_mark()
        _fill(self.stack[-1], items)

    load_setitems = load_additems = load_appends

    def load_setitem(self) -> None:
        items = self.stack[-2:]
        del self.stack[-2:]
        _fill(self.stack[-1], items)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append(_fill({}, items))

    def load_frozenset(self) -> None:
        items = self.pop_mark()
        self.append(frozenset(_fill(set(), items)))

    def load_bytearray8(self) -> None:  # the library takes the memory before it knows that the content is there
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def load_inst(self) -> None:
        raise ValueError("it uses an opcode that plain data does not need and that could run code")

    load_obj = load_newobj = load_newobj_ex = load_inst
    load_ext1 = load_ext2 = load_ext4 = load_next_buffer = load_readonly_buffer = load_inst


# The library finds the methods in this table, not by their names.
_Reader.dispatch = dict.fromkeys(range(256), _Reader.load_inst)
_Reader.dispatch.update({code: getattr(_Reader, load.__name__) for code, load in _Unpickler.dispatch.items()})
