"""Pickles that call something are refused before anything is called."""

import copyreg
import os
import pickle
import pickletools
import struct
from pathlib import Path

import numpy as np

from ltpml_jax.runtime import unpickle
from tests.helpers.pickles import ARRAY, DTYPE, PROTOCOLS, Attack, attack, refusal


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
    pickle.loads(pickle.dumps(attack(canary)))  # what tests of the readers use
    assert canary.exists()


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
