"""Pickles of plain data are read as Python reads them; damaged ones become one sentence."""

import os
import pickle
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from ltpml_jax.errors import UserError
from ltpml_jax.runtime import unpickle
from tests.helpers.contents import put
from tests.helpers.pickles import ARRAYS, MIB, PLAIN, PROTOCOLS, Attack, equal, read, refusal

APPENDIX = Path(__file__).parents[3] / "shared/reference/appendix"


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


def test_names_that_a_caller_adds_are_called_and_persistent_ids_loaded():
    data = b"\x80\x02ctorch._utils\nrebuild\n(X\x01\x00\x00\x00aQK\x02tR."
    extra = {("torch._utils", "rebuild"): lambda storage, size: (storage, size)}
    assert unpickle.read(data, "x", extra, persistent_load=str.upper) == ("A", 2)
    with pytest.raises(UserError, match=r"x .*it asks for 'torch\._utils\.rebuild'"):
        unpickle.read(data, "x", persistent_load=str.upper)
    with pytest.raises(UserError, match="x .*it asks for a persistent id"):
        unpickle.read(data, "x", extra)


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
        put(path, data[:end])
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
