"""Collectives of a compiled program and the bytes they move, read from its HLO text.

Each counts once: one in the body of a loop moves its bytes as often as the loop turns, which the text does not say.
"""

import math
import re
from typing import NamedTuple

from jax.stages import Compiled

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all", "collective-broadcast")
# `-start` repeats its operands in its type, `-done` has the result alone: of an asynchronous pair the latter counts.
_LINE = re.compile(rf"= (?P<type>\(.*?\)|\S+) (?P<kind>{'|'.join(KINDS)})(?:-done)?\((?P<rest>.*)")
_ARRAY = re.compile(r"(?P<dtype>pred|[a-z]+\d+\w*)\[(?P<shape>[\d,]*)\]")
_GROUPS = re.compile(r"replica_groups=(?:\[(?P<count>\d+),(?P<size>\d+)\]|\{\{(?P<first>[\d,]*)\})")
_SCOPE = re.compile(r'op_name="(?P<scope>[^"]*)"')


class Collective(NamedTuple):
    """kind; result: its arrays on one device, as in HLO; bytes: of them; devices: that take part; scope: where from."""

    kind: str
    result: str
    bytes: int
    devices: int
    scope: str

    @property
    def sent(self) -> float:
        """Bytes that one device sends with the usual ring algorithms."""
        share = (self.devices - 1) / self.devices
        factor = {"all-reduce": 2 * share, "reduce-scatter": self.devices - 1.0, "collective-permute": 1.0}
        return factor.get(self.kind, share) * self.bytes


def collectives(text: str, devices: int) -> list[Collective]:
    """The collectives in the HLO text of a compiled program; `devices` take part where the text names no groups."""
    found = []
    for line in text.splitlines():
        if (match := _LINE.search(line)) is None:
            continue
        arrays = [array.group() for array in _ARRAY.finditer(match["type"])]
        scope = _SCOPE.search(line)
        members = _members(line, devices)
        size = sum(map(array_bytes, arrays))
        if members > 1:
            found.append(Collective(match["kind"], " ".join(arrays), size, members, scope["scope"] if scope else ""))
    return found


def array_bytes(array: str) -> int:
    """Bytes of an array as HLO spells it: "f32[32,80]"."""
    match = _ARRAY.fullmatch(array)
    assert match, array
    bits = 8 if match["dtype"] == "pred" else int(re.findall(r"\d+", match["dtype"])[0])
    return math.prod(int(side) for side in match["shape"].split(",") if side) * max(bits, 8) // 8


def memory(compiled: Compiled) -> dict[str, int]:
    """Bytes on each device: of arguments, outputs, those of them that share memory (`alias`), and scratch (`temp`)."""
    found = compiled.memory_analysis()
    assert found is not None  # every XLA backend has it
    names = ("argument", "output", "alias", "temp")
    return {name: int(getattr(found, f"{name}_size_in_bytes")) for name in names}


def _members(line: str, devices: int) -> int:
    if "collective-permute" in line or (match := _GROUPS.search(line)) is None:
        return devices
    if match["size"]:
        return int(match["size"])
    return len(match["first"].split(",")) if match["first"] else devices
