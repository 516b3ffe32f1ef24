"""Pickles of plain data are read as Python reads them; hostile, endless and torn ones become one sentence."""

import copyreg
import os
import pickle
import pickletools
import struct
import time
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from ltpml_jax.errors import UserError
from ltpml_jax.runtime import unpickle

APPENDIX = Path(__file__).parents[3] / "shared/reference/appendix"
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


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reads_what_python_reads(protocol):
    for value in [PLAIN, *ARRAYS, np.array([{"a": 1}, [2]], object), {np.int64(3)}, [np.float32(2)]]:
        data = pickle.dumps(value, protocol)
        assert equal(read(data), pickle.loads(data))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("names", ["numpy.core", "numpy._core"])
def test_reads_arrays_of_numpy_1_and_2(protocol, names):
    array = np.arange(6, dtype=">u2").reshape(2, 3)
    original = data = pickle.dumps([array, np.int64(5)], protocol)
    if protocol > 3:
        data = data[:2] + data[11:]  # without the frame, whose length the other name changes
    for file in ("multiarray", "numeric"):
        here, there = (f"{core}.{file}".encode() for core in ("numpy._core", names))
        for old, new in ((b"c" + here, b"c" + there), (b"\x8c%c" % len(here) + here, b"\x8c%c" % len(there) + there)):
            data = data.replace(old, new)
    assert names.encode() in data and (names == "numpy._core") == (b"_core" in data)
    assert equal(read(data), pickle.loads(original)) and read(data)[0].tolist() == array.tolist()


def test_reads_what_is_referred_to_often():
    one = [1, 2]
    first, second = read(pickle.dumps([one, one]))
    assert first is second and first == one
    rows = [tuple(range(20))] * 10**5
    assert read(pickle.dumps(rows)) == rows


def test_numpy_scalars_become_numbers():
    for scalar in (np.int64(3), np.float32(0.5), np.bool_(True)):
        assert type(read(pickle.dumps(scalar))) is type(scalar.item())


def test_reads_strings_of_python_2():
    assert read(b"S'a\\xff'\np0\n.") == "a\xff"
    assert read(b"U\x02a\xff.") == "a\xff"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n"
    array += b"(S'i2'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x01\\x00\\xff\\x00'\ntb."
    assert read(array).tolist() == [1, 255] == pickle.loads(array, encoding="latin1").tolist()
    assert read(b"c__builtin__\nset\n((lp0\nI1\naI2\natR.") == {1, 2}


@pytest.mark.skipif(not APPENDIX.exists(), reason="the published pickles are not here")
@pytest.mark.parametrize("name", ["class_split", "class_freq"])
@pytest.mark.parametrize("folder", ["voc/longtail2012", "coco/longtail2017"])
def test_reads_the_published_pickles(folder, name):
    path = APPENDIX / folder / f"{name}.pkl"
    assert equal(unpickle.load(path), pickle.loads(path.read_bytes(), encoding="latin1"))


class Attack:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I%d\nt"
DTYPE = b"cnumpy\ndtype\n(S'i1'\nI0\nI1\ntR"


def attacks(canary: Path) -> dict[str, bytes]:
    """Pickles that would make the file `canary`, or that prepare such a call."""
    command = f"touch {canary}".encode()
    text, call = b"S'" + command + b"'\n", b"cos\nsystem\n"
    short = b"\x8c" + bytes([len(command)]) + command
    dtype = b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb"
    handmade = {
        "GLOBAL": call + b"(" + text + b"tR.",
        "INST": b"(" + text + b"ios\nsystem\n.",
        "OBJ": b"(" + call + text + b"o.",
        "NEWOBJ": b"\x80\x02" + call + b"(" + text + b"t\x81.",
        "NEWOBJ_EX": b"\x80\x04" + call + b"(" + text + b"t}\x92.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + short + b"\x85R.",
        "posix": b"cposix\nsystem\n(" + text + b"tR.",
        "EXT1": b"\x80\x02\x82\x01(" + text + b"tR.",
        "EXT4": b"\x80\x02\x84\x01\x00\x00\x00(" + text + b"tR.",
        "a call without a name": b"S'os.system'\n(" + text + b"tR.",
        "a call of an array": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR("
        + text
        + b"tR.",
        "__setstate__": b"cnumpy\ndtype\n(S'i8'\ntR}S'__setstate__'\n" + call + b"sb.",
        "__class__ of a set": b"c__builtin__\nset\n)R}S'__class__'\n" + call + b"sb.",
        "a dotted name": b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x18_reconstruct.__globals__\x93.",
        "a dotted module": b"\x80\x04\x8c\x05numpy\x8c\x09os.system\x93" + short + b"\x85R.",
        "a name that is a list": b"\x80\x04]\x8c\x06system\x93.",
        "getattr": b"c__builtin__\ngetattr\n(cnumpy\nndarray\nS'__subclasses__'\ntR.",
        "a subclass to reconstruct": b"cnumpy.core.multiarray\n_reconstruct\n(" + call + b"(I0\ntS'b'\ntR.",
        "objects from bytes": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I1\nt"
        + dtype
        + b"I00\nS'AAAAAAAA'\ntb.",
        "an object from a byte": ARRAY % 1 + dtype + b"I00\nS'A'\ntb.",
        "numbers from a list": ARRAY % 1 + DTYPE + b"I00\n](I1\netb.",
        "more objects than there are": ARRAY % 2 + dtype + b"I00\n](I1\netb.",
        "objects from a buffer": b"cnumpy.core.numeric\n_frombuffer\n(S'AAAAAAAA'\n" + dtype + b"(I1\ntS'C'\ntR.",
        "an object as a scalar": b"cnumpy.core.multiarray\nscalar\n(" + dtype + b"S'AAAAAAAA'\ntR.",
        "records": b"cnumpy\ndtype\n(S'i8,O'\nI0\nI1\ntR.",
        "a codec": b"c_codecs\nencode\n(Vabc\nVzlib_codec\ntR.",
        "a persistent id": b"S'0'\nQ.",
        "attributes of a function": b"c__builtin__\nset\n}S'__module__'\n" + text + b"sb0N.",
        "slots of a function": b"c__builtin__\nset\n(N}S'__defaults__'\n(" + text + b"tstb0N.",
        "attributes of a list": b"]}S'a'\nI1\nsb.",
        "an instance": b"\x80\x02cnumpy\ndtype\n(S'i8'\nt\x81.",
        "an element of an array": ARRAY % 2 + DTYPE + b"I00\nC\x02abtbI0\nI1\ns.",
        "a memoryview": b"\x80\x05C\x01a\x98.",
        "a bare array type": b"cnumpy\nndarray\n.",
        "a bare dtype": DTYPE + b".",
        "a bare function": b"c__builtin__\nset\n.",
        "a function in a list": b"(c_codecs\nencode\nl.",
        "a buffer from outside": b"\x80\x05\x97.",
    }
    called = [(open, (str(canary), "w")), (eval, (f"open({str(canary)!r}, 'w')",)), (getattr, (1, "real"))]
    called += [(np.save, (str(canary), 1)), (np.load, ("x",)), (np.ndarray, (3,)), (bytearray, (10,)), (bytes, (10,))]
    made = {
        f"{function.__name__} {protocol}": pickle.dumps(Attack(function, arguments), protocol)
        for function, arguments in called
        for protocol in PROTOCOLS
    }
    made["a nested pickle"] = pickle.dumps([1, Attack(pickle.loads, (handmade["GLOBAL"],))])
    return handmade | made


def test_the_attacks_work_on_pythons_reader(tmp_path):
    canary = tmp_path / "canary"
    for name in ("GLOBAL", "INST", "OBJ", "STACK_GLOBAL", "posix", "open 4", "eval 0", "a nested pickle"):
        pickle.loads(attacks(canary)[name])
        assert canary.exists(), name
        canary.unlink()


def test_no_attack_runs_and_each_is_named(tmp_path):
    canary = tmp_path / "canary"
    for name, data in attacks(canary).items():
        text = refusal(data)
        assert not canary.exists(), name
        if name in ("GLOBAL", "STACK_GLOBAL"):
            assert "'os.system'" in text and "could run code" in text
    assert "posix.system" in refusal(attacks(canary)["posix"])
    assert "it uses an opcode" in refusal(attacks(canary)["INST"])
    assert "_reconstruct.__globals__" in refusal(attacks(canary)["a dotted name"])


def test_no_attack_changes_the_reader(tmp_path):
    before = {name: dict(vars(make)) for name, make in unpickle._NAMES.items() if hasattr(make, "__dict__")}
    defaults = {name: getattr(make, "__defaults__", None) for name, make in unpickle._NAMES.items()}
    for data in attacks(tmp_path / "canary").values():
        refusal(data)
    assert before == {name: dict(vars(make)) for name, make in unpickle._NAMES.items() if hasattr(make, "__dict__")}
    assert defaults == {name: getattr(make, "__defaults__", None) for name, make in unpickle._NAMES.items()}


def test_names_that_the_process_registered_for_short_are_refused(tmp_path):
    canary, code = tmp_path / "canary", 0x7F000001
    copyreg.add_extension("os", "system", code)
    try:
        data = pickle.dumps(Attack(os.system, (f"touch {canary}",)), 2).replace(b"cposix\nsystem\n", b"cos\nsystem\n")
        data = data.replace(b"cos\nsystem\n", b"\x84" + struct.pack("<i", code))
        refusal(data)
        assert not canary.exists()
        pickle.loads(data)
        assert canary.exists()  # it would have
        refusal(data)  # also when Python remembers the name
    finally:
        copyreg.remove_extension("os", "system", code)


def test_the_opcodes_are_the_known_ones():
    known = {ord(opcode.code) for opcode in pickletools.opcodes}
    assert set(pickle._Unpickler.dispatch) <= known and len(known) == 68  # a new one has to be thought about
    refused = unpickle._Reader.load_inst
    taken = [code for code, load in unpickle._Reader.dispatch.items() if load is not refused]
    assert len(unpickle._Reader.dispatch) == 256 and len(taken) == 59


def test_a_name_cannot_steer_a_terminal():
    assert r"\x1b[2J\n" in refusal(b"\x80\x04\x8c\x05\x1b[2J\n\x8c\x01a\x93.")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_truncation_is_refused(protocol):
    data = pickle.dumps([PLAIN, ARRAYS[:5]], protocol)
    for end in range(len(data)):
        refusal(data[:end])


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_flipped_bytes_give_plain_data_or_a_refusal(protocol):
    data = pickle.dumps([PLAIN, ARRAYS[:5]], protocol)
    chance = np.random.default_rng(protocol)
    refused, started = 0, time.monotonic()
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(chance.integers(1, 4)):
            damaged[chance.integers(len(data))] ^= 1 << chance.integers(8)
        try:
            read(bytes(damaged))
        except UserError:
            refused += 1
    assert refused > 40 and time.monotonic() - started < 60


def test_random_opcodes_give_plain_data_or_a_refusal():
    chance = np.random.default_rng(0)
    for _ in range(1000):
        with pytest.raises(UserError):
            read(chance.bytes(30) + b"\xfe")  # the last opcode does not exist


def doubled(times: int) -> bytes:
    """A list of a list twice, and so on: 2**times when written out."""
    links = b"".join(b"0](h%ch%ceq%c" % (i - 1, i - 1, i) for i in range(1, times))
    return b"]q\x00" + links + b"."


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


def test_names_that_a_caller_adds_are_called_and_persistent_ids_loaded():
    data = b"\x80\x02ctorch._utils\nrebuild\n(X\x01\x00\x00\x00aQK\x02tR."
    extra = {("torch._utils", "rebuild"): lambda storage, size: (storage, size)}
    assert unpickle.read(data, "x", extra, persistent_load=str.upper) == ("A", 2)
    with pytest.raises(UserError, match=r"x .*it asks for 'torch\._utils\.rebuild'"):
        unpickle.read(data, "x", persistent_load=str.upper)
    with pytest.raises(UserError, match="x .*it asks for a persistent id"):
        unpickle.read(data, "x", extra)


def test_a_persistent_id_that_has_no_end_does_not_reach_the_caller():
    with pytest.raises(UserError, match="it describes over 512 MiB"):
        unpickle.read(doubled(60)[:-1] + b"Q.", "x", persistent_load=lambda name: len(str(name)))


def test_views_of_a_callers_memory_do_not_count(monkeypatch):
    monkeypatch.setattr(unpickle, "LIMIT", MIB)
    weights = memoryview(bytearray(4 * MIB))
    extra = {("a", "b"): lambda: np.frombuffer(weights, np.int8)}
    assert unpickle.read(b"ca\nb\n)R.", "x", extra).nbytes == 4 * MIB
    with pytest.raises(UserError, match="it describes over 1 MiB"):
        unpickle.read(b"](ca\nb\n)Re.", "x", {("a", "b"): lambda: np.zeros(4 * MIB, np.int8)})


def test_files_are_read_and_named(tmp_path, monkeypatch):
    path = tmp_path / "some.pkl"
    path.write_bytes(pickle.dumps({"a": 1}))
    assert unpickle.load(path) == {"a": 1}
    with pytest.raises(UserError, match=r"none\.pkl cannot be read \(No such file or directory\); "):
        unpickle.load(tmp_path / "none.pkl")
    for other in (tmp_path, "/dev/zero"):
        with pytest.raises(UserError, match="cannot be read .*no regular file"):
            unpickle.load(other)
    monkeypatch.setattr(unpickle, "LIMIT", 10)
    with pytest.raises(UserError, match=r"some\.pkl cannot be read .*it has more than"):
        unpickle.load(path)
    with pytest.raises(UserError, match=r"x .*is larger than"):
        unpickle.read(path.read_bytes(), "x")


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe cannot be read .*no regular file"):
        unpickle.load_npy(tmp_path / "pipe")


def test_npy_files_are_read_with_and_without_objects(tmp_path):
    path = tmp_path / "some.npy"
    for array in (*ARRAYS, np.array([{"a": 1}, [2]], object)):
        np.save(path, array)
        assert equal(unpickle.load_npy(path), array)
    np.save(path, np.array({"partial_labels": ARRAYS[0]}, object))
    assert equal(unpickle.load_npy(path), {"partial_labels": ARRAYS[0]})


@pytest.mark.parametrize("array", [np.arange(5), np.array({"a": 1}, object), np.array(["a"])])
def test_damaged_npy_files_are_refused(tmp_path, array):
    path = tmp_path / "some.npy"
    np.save(path, array)
    data = path.read_bytes()
    for end in range(len(data)) if array.dtype.kind != "U" else [len(data)]:
        path.write_bytes(data[:end])
        with pytest.raises(UserError, match=r"some\.npy is not sound plain data"):
            unpickle.load_npy(path)


def test_npy_files_that_attack_are_refused(tmp_path):
    path, canary = tmp_path / "some.npy", tmp_path / "canary"
    np.save(path, np.array(Attack(open, (str(canary), "w")), object))
    with pytest.raises(UserError, match=r"some\.npy .*asks for '(io|_io)\.open'"):
        unpickle.load_npy(path)
    assert not canary.exists()
    np.save(path, np.empty((2**40, 0)))
    with pytest.raises(UserError, match="an array of no bytes"):
        unpickle.load_npy(path)
    for descr in ("'(1000000000,)f8'", "[('a', 'f8')]", "'V1000000000'", "(" * 500 + ")" * 500):
        header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (2**60,), }}".ljust(2000).encode()
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
        with pytest.raises(UserError, match=r"some\.npy is not sound plain data"):
            unpickle.load_npy(path)
