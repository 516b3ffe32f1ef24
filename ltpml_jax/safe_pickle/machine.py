"""The stack machine of a pickle, without imports, attributes, classes and instances.

Source: what each opcode does is told in pickletools.py of Python's standard library.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ltpml_jax.safe_pickle.limits import Budget, check_key, check_whole, forbidden
from ltpml_jax.safe_pickle.opcodes import opcodes
from ltpml_jax.safe_pickle.values import Dtype, elements, fill_array

NEWEST = 5  # protocol
_COST = {list: 16, set: 100, dict: 75}  # bytes, at most, of a place in a container; a dict's pair has two


class Machine:
    """Reads one pickle."""

    def __init__(
        self,
        names: Mapping[tuple[str, str], Any],
        persistent_load: Callable[[Any], Any] | None,
        budget: Budget,
    ) -> None:
        """Nothing is read yet. `names`: what (module, name) pairs stand for."""
        self.names, self.persistent_load, self.budget = names, persistent_load, budget
        self.callables = {id(value) for value in names.values() if callable(value)}
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """What the pickle describes, unless it is refused (RefusedError) or malformed (any error)."""
        for name, argument in opcodes(data, self.budget):
            if name == "STOP":
                break
            if name not in ACTIONS:
                raise forbidden(f"the opcode {name}")
            ACTIONS[name](self, argument)
        if self.marks or len(self.stack) != 1:
            raise ValueError("it describes no single thing")
        return self.stack[0]

    def push(self, value: Any) -> None:
        """Put a value on top of the stack."""
        self.stack.append(value)

    def is_internal(self, value: Any) -> bool:
        """Whether a value is a tool of this reader, not data."""
        return id(value) in self.callables or isinstance(value, Dtype)


def _since_mark(machine: Machine) -> list[Any]:
    """What was pushed since the last mark; both are taken off."""
    items, machine.stack = machine.stack, machine.marks.pop()
    return items


def _last(machine: Machine, count: int) -> list[Any]:
    if len(machine.stack) < count:
        raise ValueError("it takes what was not there")
    items = machine.stack[-count:]
    del machine.stack[-count:]
    return items


def _mark(machine: Machine, _: Any) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _pop(machine: Machine, _: Any) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        _since_mark(machine)


def _pop_mark(machine: Machine, _: Any) -> None:
    _since_mark(machine)


def _remember(machine: Machine, place: int | None) -> None:
    machine.memo[len(machine.memo) if place is None else place] = machine.stack[-1]


def _recall(machine: Machine, place: int) -> None:
    machine.push(machine.memo[place])


def _extend(machine: Machine, items: list[Any], kind: type) -> None:
    """Put items into the container of a kind that is on top of the stack."""
    target = machine.stack[-1]
    if not isinstance(target, kind):
        raise ValueError(f"elements for a {type(target).__name__}")
    machine.budget.spend(_COST[kind] * len(items))
    if isinstance(target, list):
        target.extend(items)
    elif isinstance(target, set):
        target.update(check_key(item) for item in items)
    else:
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[check_key(key)] = value


def _fresh(machine: Machine, items: list[Any], kind: type) -> None:
    machine.push(kind())
    _extend(machine, items, kind)


def _find(machine: Machine, module: Any, name: Any) -> None:
    if not (isinstance(module, str) and isinstance(name, str)):
        raise ValueError("a name that is no text")
    if (module, name) not in machine.names:
        raise forbidden(f"{module[:60]}.{name[:60]}")
    machine.push(machine.names[module, name])


def _call(machine: Machine, _: Any) -> None:
    """Call a function that a name stands for; nothing else can be called."""
    function, arguments = _last(machine, 2)
    if id(function) not in machine.callables:
        raise forbidden(f"a call of a {type(function).__name__}")
    if type(arguments) is not tuple:
        raise ValueError("a call without arguments")
    machine.push(function(*arguments))


def _build(machine: Machine, _: Any) -> None:
    """Complete an array or its type; attributes of a dict are dropped."""
    target, state = _last(machine, 2)
    if isinstance(target, Dtype):
        target.build(state)
    elif isinstance(target, np.ndarray):
        fill_array(machine.budget, target, state)
    elif not isinstance(target, dict):
        raise forbidden(f"attributes of a {type(target).__name__}")
    machine.push(target)


def _persistent(machine: Machine, name: Any) -> None:
    if machine.persistent_load is None:
        raise forbidden("a persistent id")
    check_whole(name, lambda _: False, machine.budget)
    machine.push(machine.persistent_load(name))


def _protocol(machine: Machine, version: int) -> None:
    if version > NEWEST:
        raise ValueError(f"protocol {version}")


ACTIONS: dict[str, Callable[[Machine, Any], None]] = {
    "PROTO": _protocol,
    "FRAME": lambda machine, _: None,
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"), Machine.push),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE"), Machine.push),
    **dict.fromkeys(("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), Machine.push),
    **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"), Machine.push),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": _mark,
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _recall),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _remember),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE1": lambda machine, _: machine.push(tuple(_last(machine, 1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(_last(machine, 2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(_last(machine, 3))),
    "TUPLE": lambda machine, _: machine.push(tuple(_since_mark(machine))),
    "EMPTY_LIST": lambda machine, _: _fresh(machine, [], list),
    "LIST": lambda machine, _: _fresh(machine, _since_mark(machine), list),
    "APPEND": lambda machine, _: _extend(machine, _last(machine, 1), list),
    "APPENDS": lambda machine, _: _extend(machine, _since_mark(machine), list),
    "EMPTY_DICT": lambda machine, _: _fresh(machine, [], dict),
    "DICT": lambda machine, _: _fresh(machine, _since_mark(machine), dict),
    "SETITEM": lambda machine, _: _extend(machine, _last(machine, 2), dict),
    "SETITEMS": lambda machine, _: _extend(machine, _since_mark(machine), dict),
    "EMPTY_SET": lambda machine, _: _fresh(machine, [], set),
    "ADDITEMS": lambda machine, _: _extend(machine, _since_mark(machine), set),
    "FROZENSET": lambda machine, _: machine.push(elements(machine.budget, frozenset, _since_mark(machine))),
    "GLOBAL": lambda machine, both: _find(machine, *both.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: _find(machine, *_last(machine, 2)),
    "REDUCE": _call,
    "BUILD": _build,
    "PERSID": _persistent,
    "BINPERSID": lambda machine, _: _persistent(machine, *_last(machine, 1)),
}
