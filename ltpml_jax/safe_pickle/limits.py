"""What a pickle may cost: memory while it is read, and the size, depth and roundness of what it describes."""

import sys
from collections.abc import Callable
from types import NoneType
from typing import Any

import numpy as np

DEEPEST = 100  # containers within containers; Python's own recursion ends at 1000
# Python hashes integers modulo 2**61 - 1, and tuples of them by a public rule: longer integers, and tuples, could be
# chosen to collide in their thousands, and a dict of them would take for ever.
KEY_BITS = 63
_VISIT = 16  # bytes of bookkeeping that an element takes when the result is checked
_TRUST = "get the file from a source that you trust, or save it again as plain containers and numeric arrays"


class RefusedError(Exception):
    """A pickle that is not read; the text goes on after the name of its source, without the full stop."""


def forbidden(name: str) -> RefusedError:
    """The error of a pickle that asks for something that plain data does not need."""
    # A name is the pickle's to choose, and must not be able to steer a terminal.
    name = name if name.isprintable() else ascii(name)
    return RefusedError(f"asks for {name}, which plain data does not need and which could run code; {_TRUST}")


class Budget:
    """Bytes that a pickle may still take."""

    def __init__(self, limit: int) -> None:
        """All of `limit` is left."""
        self.limit = self.left = limit

    def need(self, size: int) -> None:
        """Raises RefusedError where `size` bytes more would be too many; takes none."""
        if size > self.left:
            raise RefusedError(self.exhausted())

    def spend(self, size: int) -> None:
        """Takes `size` bytes; raises RefusedError where they are not left."""
        self.need(size)
        self.left -= size

    def exhausted(self) -> str:
        """What to say of a pickle that is too large."""
        size = f"{self.limit / 2**20:,.0f} MiB" if self.limit >= 2**20 else f"{self.limit:,} bytes"
        return f"describes more than {size} of data; {_TRUST}, and in smaller parts"


def check_key(key: Any) -> Any:
    """`key`, if hashing and finding it is sure to be quick: None, a string or a number; RefusedError else."""
    if not (key is None or isinstance(key, str | bytes | int | float)):
        raise RefusedError(f"has a key or set element of type {type(key).__name__}; {_TRUST}")
    if isinstance(key, int) and key.bit_length() > KEY_BITS:
        raise RefusedError(f"has a key or set element of more than {KEY_BITS} bits; {_TRUST}")
    return key


def check_whole(root: Any, is_internal: Callable[[Any], bool], budget: Budget) -> None:
    """Raises RefusedError if `root` contains itself, is too deep, or is too large when written out.

    A list that holds one list twice, which holds one list twice, and so on, is small until somebody prints it.
    `is_internal` tells what belongs to the reader and may not come out of it.
    """
    measured: dict[int, tuple[int, int]] = {}  # id of a container -> its height, and bytes when written out
    opened: set[int] = set()
    todo: list[Any] = [[root]]  # in a list, so that there is always a container
    while todo:
        node = todo[-1]
        if id(node) in measured:
            todo.pop()
            continue
        parts = _parts(node)
        budget.spend(_VISIT * len(parts))
        waiting = [part for part in parts if _is_container(part) and id(part) not in measured]
        if not waiting:
            measured[id(node)] = _measure(node, parts, measured, is_internal, budget.limit)
        elif id(node) in opened:
            raise RefusedError(f"contains itself; {_TRUST}")
        else:
            opened.add(id(node))
            todo.extend(waiting)


def _measure(
    node: Any, parts: list[Any], measured: dict[int, tuple[int, int]], is_internal: Callable[[Any], bool], limit: int
) -> tuple[int, int]:
    """Height of a container, and its bytes when written out, from those of its parts."""
    height, size = 0, sys.getsizeof(node)
    for part in parts:
        if is_internal(part):
            raise RefusedError(f"holds a bare function or type; {_TRUST}")
        high, wide = measured[id(part)] if _is_container(part) else (0, _leaf_size(part))
        height, size = max(height, high), size + wide
    if height >= DEEPEST:
        raise RefusedError(f"nests containers more than {DEEPEST} deep; {_TRUST}")
    if size > limit:
        raise RefusedError(Budget(limit).exhausted())
    return height + 1, size


def _is_container(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.hasobject
    return isinstance(value, list | tuple | dict | set | frozenset)


def _parts(container: Any) -> list[Any]:
    if isinstance(container, np.ndarray):
        return container.ravel().tolist()
    return [*container, *container.values()] if isinstance(container, dict) else list(container)


def _leaf_size(value: Any) -> int:
    # An array that is a view of memory of somebody else (of a weight file, say) is small: that is accounted for there.
    if isinstance(value, np.ndarray) and isinstance(value.base, bytes | bytearray | NoneType):
        return sys.getsizeof(value) + value.nbytes
    return sys.getsizeof(value)
