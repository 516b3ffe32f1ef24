"""Small pickles that become large, or never end, are refused at once."""

import functools
import pickle
import struct
import time
import tracemalloc

import numpy as np
import pytest

from ltpml_jax.errors import UserError
from ltpml_jax.runtime import unpickle
from tests.helpers.pickles import ARRAY, DTYPE, MIB, PROTOCOLS, read, refusal


def doubled(times: int) -> bytes:
    """A list of a list twice, and so on: 2**times when written out."""
    links = b"".join(b"0](h%ch%ceq%c" % (i - 1, i - 1, i) for i in range(1, times))
    return b"]q\x00" + links + b"."


@functools.cache
def bombs() -> dict[str, bytes]:
    """Small pickles that become large, or never end, with a careless reader."""
    gigabyte, mebibyte = struct.pack("<I", 2**30), struct.pack("<I", MIB)
    text = b"X" + mebibyte + b"x" * MIB + b"q\x00"
    empty = ARRAY.replace(b"(I%d\nt", b"(L%dL\nI0\nt")
    encode = b"c_codecs\nencode\n(h\x00Vlatin1\ntR"
    colliding = b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in range(1, 20000))
    nested = b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
    return {
        "BINBYTES": b"B" + gigabyte + b"x.",
        "BINUNICODE": b"X" + gigabyte + b"x.",
        "BINBYTES8": b"\x8e" + struct.pack("<Q", 2**62) + b"x.",
        "BINUNICODE8": b"\x8d" + struct.pack("<Q", 2**40) + b"x.",
        "BYTEARRAY8": b"\x96" + struct.pack("<Q", 2**40) + b"x.",
        "BINSTRING": b"T" + struct.pack("<i", 2**30) + b"x.",
        "BINSTRING below 0": b"T" + struct.pack("<i", -1) + b"x.",
        "LONG4": b"\x8b" + gigabyte + b"x.",
        "FRAME": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N",
        "a place in the memo": b"Nr" + struct.pack("<I", 2**32 - 1) + b"0" + b"N(" * 10**5 * 2,
        "bytes made again and again": text + b"0(" + encode * 1000 + b"l.",
        "a large array": ARRAY % 2**30 + DTYPE + b"I00\nC\x01xtb.",
        "an array larger than a word": ARRAY % 2**70 + DTYPE + b"I00\nC\x01xtb.",
        "arrays made again and again": text + b"0(" + (ARRAY % MIB + DTYPE + b"I00\nh\x00tb") * 1000 + b"l.",
        "an array many times": ARRAY % MIB + DTYPE + b"I00\n" + text + b"tbq\x010(" + b"h\x01" * 2000 + b"l.",
        "a large scalar": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'S1000000000'\ntRS''\ntR.",
        "a large type": b"cnumpy\ndtype\n(S'(1000000000,)i8'\ntR.",
        "a length for bytearray": b"cbuiltins\nbytearray\n(J" + gigabyte + b"tR.",
        "an array of no bytes": empty % 2**40 + DTYPE + b"I00\nC\x00tb.",
        "an array of no bytes from a buffer": b"cnumpy.core.numeric\n_frombuffer\n(C\x00"
        + DTYPE
        + b"(I0\nL%dL\ntS'C'\ntR." % 2**40,
        "sets made again and again": b"](" + b"N" * 3000 + b"eq\x00(" + b"c__builtin__\nset\n(h\x00tR" * 10**4 + b"l.",
        "pairs made again and again": b"((NNtq\x000"
        + b"("
        + b"h\x00" * 3000
        + b"lq\x01"
        + b"ccollections\nOrderedDict\n(h\x01tR" * 3000
        + b"l.",
        "an element at a doubled index": ARRAY % 1 + DTYPE + b"I00\nC\x01atb" + doubled(60)[:-1] + b"I1\ns.",
        "an argument without end": b"c_codecs\nencode\n" + doubled(60)[:-1] + b"R.",
        "a name of a type without end": b"cnumpy\ndtype\n(" + doubled(60)[:-1] + b"tR.",
        "doubled lists": doubled(60),
        "marks": b"(" * 3 * 10**5 + b".",
        "deep lists": b"]" * 10**4 + b"a" * (10**4 - 1) + b".",
        "deep tuples": b")" + b"\x85" * 10**4 + b".",
        "itself": b"]q\x00h\x00a.",
        "itself through a dict": b"}q\x00N]h\x00as.",
        "keys that collide": b"}(" + colliding + b"u.",
        "a key whose hash has no end": b"}N" + nested + b"Ns.",
        "a number without end": b"I" + b"9" * 10**5 + b"\n.",
    }


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_at_once_and_within_memory_like_its_size(name):
    data = bombs()[name]
    tracemalloc.start()
    started = time.monotonic()
    try:
        refusal(data)
        assert tracemalloc.get_traced_memory()[1] < 80 * len(data) + 8 * MIB
    finally:
        tracemalloc.stop()
    assert time.monotonic() - started < 20


def test_an_array_of_no_bytes_and_enormous_sides_is_refused():
    for shape in ((2**40, 0), (0, 2**21), (2**11, 0, 2**11)):
        for protocol in PROTOCOLS:
            assert "an array of no bytes" in refusal(pickle.dumps(np.empty(shape, np.int64), protocol)), shape
    for shape in ((2**20, 0), (0,), (0, 0)):
        assert read(pickle.dumps(np.empty(shape, np.int64))).shape == shape


def test_what_python_itself_has_no_room_for_is_refused():
    assert "MemoryError" in refusal_of(MemoryError())
    assert "recursion" in refusal_of(RecursionError("maximum recursion depth exceeded"))


def refusal_of(error: Exception) -> str:
    def fail() -> None:
        raise error

    with pytest.raises(UserError) as caught:
        unpickle.read(b"ca\nb\n)R.", "x.pkl", {("a", "b"): fail})
    return str(caught.value)


def test_a_persistent_id_that_has_no_end_does_not_reach_the_caller():
    with pytest.raises(UserError, match="it describes over 512 MiB"):
        unpickle.read(doubled(60)[:-1] + b"Q.", "x", persistent_load=lambda name: len(str(name)))
