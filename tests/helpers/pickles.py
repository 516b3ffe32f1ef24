"""Pickles for the tests of the reader: plain data, calls, and what must hold of a value and of a refusal."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from ltpml_jax.errors import UserError
from ltpml_jax.runtime import unpickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
MIB = 2**20
PLAIN = {
    "scalars": [None, True, False, 0, -1, 255, 65536, -(2**31), 10**20, 2.5, float("inf"), 1j, "é\n\\", "\U0001f600"],
    "bytes": [b"", b"\x00\xff'\"", bytearray(b"ab"), bytearray(), b"x" * 300],
    "containers": [[], (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), set(), {1, 2}, frozenset({"x"}), {"a": {3: [4]}}],
    "ordered": OrderedDict(b=1, a=2),
}
ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.arange(6, dtype=">i4").reshape(2, 3),
    np.arange(6, dtype=np.int16).reshape(2, 3).T,
    np.zeros((2, 3, 4), bool).transpose(1, 0, 2),
    np.zeros((0, 4), np.float32),
    np.array(3 + 4j),
    np.arange(2000, dtype=np.uint64),
]
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I%d\nt"
DTYPE = b"cnumpy\ndtype\n(S'i1'\nI0\nI1\ntR"


def read(data: bytes):
    return unpickle.read(data, "x.pkl")


def refusal(data: bytes) -> str:
    with pytest.raises(UserError) as caught:
        read(data)
    text = str(caught.value)
    assert text.startswith("x.pkl is not sound plain data (") and text.endswith(f"; {unpickle.REMEDY}."), text
    assert text.isprintable() and len(text) < 500
    return text


def equal(ours, theirs) -> bool:
    if isinstance(theirs, np.ndarray):
        same = ours.dtype == theirs.dtype and ours.shape == theirs.shape
        return same and all(map(equal, ours.ravel().tolist(), theirs.ravel().tolist()))
    if isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(equal(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(equal, ours, theirs))
    return ours == theirs


class Attack:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def attack(canary: Path) -> Attack:
    """What makes the file `canary` when Python reads its pickle."""
    return Attack(os.system, (f"touch {canary}",))
