"""The opcodes of a pickle, one after another, each paid for before it is read.

Source: pickletools.py of Python's standard library, which decodes their arguments.
"""

import codecs
import io
import pickletools
import sys
from collections.abc import Iterator
from typing import Any

from ltpml_jax.safe_pickle.limits import Budget

_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_LINE = -1
_WIDTH = {-2: 1, -3: 4, -4: 4, -5: 8}  # kind of argument -> bytes of the length that stands before it
_TEXT = 5  # bytes of memory, at most, for a byte of text: a copy, and up to four for a character
_INT_BITS = 2048
# Bytes of memory, at most, that an opcode takes: an object beside its argument, and its place in a container.
_COST = {"EMPTY_SET": 400, "REDUCE": 250, "BUILD": 100}
_COST |= dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), 32)
_COST |= dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), 120)
_COST_ELSE = 72


def opcodes(data: bytes, budget: Budget) -> Iterator[tuple[str, Any]]:
    """Name and argument (None where there is none) of each opcode.

    Raises RefusedError where the budget ends, and errors of many kinds where the pickle ends or makes no sense.
    """
    stream = io.BytesIO(data)
    while True:
        code = stream.read(1)
        if code not in _OPCODES:
            raise ValueError(f"unknown opcode {code!r}" if code else "it ends too early")
        opcode = _OPCODES[code]
        budget.spend(_COST.get(opcode.name, _COST_ELSE))
        yield opcode.name, None if opcode.arg is None else _argument(opcode, data, stream, budget)


def _argument(opcode: Any, data: bytes, stream: io.BytesIO, budget: Budget) -> Any:
    start, width = stream.tell(), _WIDTH.get(opcode.arg.n, 0)
    if opcode.arg.n == _LINE:
        size = data.find(b"\n", start) - start
    else:
        size = int.from_bytes(data[start : start + width], "little")
    if not 0 <= size <= len(data) - start - width:
        raise ValueError("it ends too early")
    budget.need(_TEXT * size)
    argument = _old_string(stream) if opcode.name == "STRING" else opcode.arg.reader(stream)
    budget.spend(sys.getsizeof(argument) if size else 0)
    if isinstance(argument, int) and argument.bit_length() > _INT_BITS:
        raise ValueError("an integer without end")
    return argument


def _old_string(stream: io.BytesIO) -> str:
    """A string of protocol 0 as Python 2 wrote it; pickletools knows them in ASCII only."""
    line = stream.readline().strip()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[:1] != line[-1:]:
        raise ValueError("a string without quotes")
    return codecs.escape_decode(line[1:-1])[0].decode("latin-1")  # pyright: ignore[reportAttributeAccessIssue]
