"""torch checkpoints without torch: two that torch wrote, and hand-made ones that attack or are damaged.

The golden files are torch.save({"state_dict": ..., "epoch": 3, "best": (0.5, None), "arch": "resnet50"}, path,
_use_new_zipfile_serialization=True or False) by torch 2.13; the tensors are those that `EXPECTED` names.
"""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from ltpml_jax.errors import UserError
from ltpml_jax.models import torch_files, weight_files

GOLDEN = Path(__file__).parents[1] / "golden"
BASE = np.arange(24, dtype=np.float32).reshape(4, 6)
EXPECTED = {
    "conv.weight": np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2),  # a Parameter
    "transposed": BASE.T,  # these two share a storage
    "window": BASE[1:3, ::2],
    "expanded": np.full(3, 5, np.float32),  # of one stored number
    "half": np.array([0.5, -2], np.float16),
    "bfloat16": np.array([0.5, -2], ml_dtypes.bfloat16),
    "double": np.array([0.1]),
    "empty": np.zeros((0, 3), np.float32),
    "num_batches_tracked": np.array(7),
    "flags": np.array([True, False]),
    "bn.weight": np.ones(2, np.float32),
    "bn.bias": np.zeros(2, np.float32),
    "bn.running_mean": np.zeros(2, np.float32),
    "bn.running_var": np.ones(2, np.float32),
    "bn.num_batches_tracked": np.array(0),
}


def text(value: str) -> bytes:
    return b"V" + value.encode() + b"\n"


def integers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"


def tensor(key: str, numel: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """The opcodes with which torch pickles a float32 tensor."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + b"I%d\nt" % numel + b"Q"
    views = b"I%d\n" % offset + integers(size) + integers(stride)
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + views + b"I00\n" + hooks + b"tR"


def state_dict(tensors: Mapping[str, bytes]) -> bytes:
    return b"\x80\x02}(" + b"".join(text(name) + opcodes for name, opcodes in tensors.items()) + b"u."


def archive(records: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for name, content in records.items():
            file.writestr(f"archive/{name}", content)
    return stream.getvalue()


def checkpoint(tensors: Mapping[str, np.ndarray]) -> bytes:
    """A checkpoint in torch's zip format with float32 tensors."""
    strides = {name: tuple(step // 4 for step in array.strides) for name, array in tensors.items()}
    pickled = {name: tensor(name, array.size, 0, array.shape, strides[name]) for name, array in tensors.items()}
    contents = {f"data/{name}": array.tobytes() for name, array in tensors.items()}
    return archive({"data.pkl": state_dict(pickled), "byteorder": b"little", **contents})


def refused(data: bytes) -> str:
    with pytest.raises(UserError) as caught:
        torch_files.read(data, "weights.pth")
    assert "weights.pth" in str(caught.value)
    return str(caught.value)


def test_what_torch_wrote() -> None:
    data = (GOLDEN / "torch_zip.pth").read_bytes()
    tensors = torch_files.read(data, "torch_zip.pth")
    assert torch_files.recognises(data[: torch_files.HEAD])
    assert tensors.keys() == {f"module.{key}" for key in EXPECTED}
    for key, expected in EXPECTED.items():
        found = tensors[f"module.{key}"]
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_the_format_from_before_torch_1_6_is_refused_with_the_line_that_converts_it() -> None:
    data = (GOLDEN / "torch_legacy.pth").read_bytes()
    assert torch_files.recognises(data[: torch_files.HEAD])
    for torn in (data, data[: torch_files.HEAD]):
        message = refused(torn)
        assert "format from before version 1.6" in message and "torch.save(torch.load(" in message


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe", tmp_path):
        with pytest.raises(UserError, match=f"cannot read the weights {path} .it is no regular file"):
            weight_files.read(path)


def test_tensors_are_views_of_the_file() -> None:
    data = checkpoint({"a": np.arange(6, dtype=np.float32)})
    array = torch_files.read(data, "weights.pth")["a"]
    assert np.shares_memory(array, np.frombuffer(data, np.uint8))
    assert not array.flags.writeable


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_the_state_dict_may_lie_within_a_dict(wrapper: str) -> None:
    inner = state_dict({"a": tensor("0", 2, 0, (2,), (1,))})[2:-1]
    pickled = b"\x80\x02}(" + text(wrapper) + inner + text("epoch") + b"I7\nu."
    data = archive({"data.pkl": pickled, "data/0": np.array([1, 2], np.float32).tobytes()})
    np.testing.assert_array_equal(torch_files.read(data, "weights.pth")["a"], [1, 2])


@pytest.mark.parametrize("content", [b"I3\n", b"}", b"(l", b"}(Vepoch\nI7\nu"])
def test_an_object_without_tensors_is_refused(content: bytes) -> None:
    assert "state_dict()" in refused(archive({"data.pkl": b"\x80\x02" + content + b"."}))


class Attack:
    """Pickles as a call of os.system."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_a_program_is_refused_and_does_not_call_it(tmp_path: Path, protocol: int) -> None:
    attack = pickle.dumps(Attack(tmp_path / "called"), protocol)
    assert "system" in refused(archive({"data.pkl": attack}))
    legacy = (GOLDEN / "torch_legacy.pth").read_bytes()
    refused(legacy[: torch_files.HEAD] + attack)
    assert not (tmp_path / "called").exists()
    pickle.loads(attack)
    assert (tmp_path / "called").exists()  # it would have


@pytest.mark.parametrize(
    "name", ["torch.storage\n_load_from_bytes", "torch._utils\n_rebuild_tensor", "builtins\neval", "torch\nload"]
)
def test_other_names_are_refused_by_name(name: str) -> None:
    message = refused(archive({"data.pkl": b"\x80\x02c" + name.encode() + b"\n."}))
    assert name.replace("\n", ".") in message


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (5,), (1,)),  # longer than its storage
        (3, (2,), (1,)),  # starts too late
        (0, (2, 3), (3, 1)),
        (0, (2,), (2**40,)),
        (0, (2**62,), (1,)),
        (0, (2**70,), (1,)),
        (0, (2**40, 2**40), (0, 0)),
        (-1, (2,), (1,)),  # before the storage
        (2, (3,), (-2,)),
        (0, (-1,), (1,)),
        (0, (2,), (1, 1)),
    ],
)
def test_a_tensor_outside_of_its_storage_is_refused(
    offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    pickled = state_dict({"a": tensor("0", 4, offset, size, stride)})
    message = refused(archive({"data.pkl": pickled, "data/0": bytes(16)}))
    assert "a tensor does not fit its storage" in message


def test_a_storage_shorter_than_it_says_is_refused() -> None:
    pickled = state_dict({"a": tensor("0", 4, 0, (4,), (1,))})
    assert "does not fit its storage" in refused(archive({"data.pkl": pickled, "data/0": bytes(15)}))


@pytest.mark.parametrize("key", ["1", "../../../../etc/passwd", "/etc/passwd", "", "../data.pkl"])
def test_a_storage_that_is_no_record_is_refused(key: str) -> None:
    pickled = state_dict({"a": tensor(key, 4, 0, (4,), (1,))})
    assert "it has no record" in refused(archive({"data.pkl": pickled, "data/0": bytes(16)}))


def test_persistent_ids_of_another_form_are_refused() -> None:
    view = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"I4\n(I0\ntt"
    for identity in (b"I3\n", text("storage"), b"(" + text("module") + text("FloatStorage") + b"t", b"}", view):
        assert "a storage described as" in refused(archive({"data.pkl": b"\x80\x02" + identity + b"Q."}))


def test_a_zip_bomb_is_refused_without_unpacking_it() -> None:
    bomb = archive({"data.pkl": bytes(10**7)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 20_000
    assert "compressed" in refused(bomb)


def test_overlapping_records_are_refused() -> None:
    data = bytearray(archive({"data.pkl": bytes(100), "data/0": bytes(100)}))
    for directory in range(len(data)):
        if data[directory : directory + 4] == b"PK\x01\x02":
            data[directory + 20 : directory + 28] = struct.pack("<II", 10**8, 10**8)
    assert "overlap" in refused(bytes(data))


def test_a_file_cut_anywhere_is_refused() -> None:
    data = (GOLDEN / "torch_zip.pth").read_bytes()
    for length in range(torch_files.HEAD, len(data), 97):
        assert "weights.pth" in refused(data[:length])


def test_a_flipped_byte_is_refused_or_harmless() -> None:
    data = (GOLDEN / "torch_zip.pth").read_bytes()
    for place in range(torch_files.HEAD, len(data), 13):
        damaged = data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
        try:
            torch_files.read(damaged, "weights.pth")
        except UserError as error:
            assert "weights.pth" in str(error)


def test_a_damaged_storage_does_not_match_its_checksum() -> None:
    data = checkpoint({"a": np.full(4, 1.5, np.float32)})
    assert "does not match its checksum" in refused(data.replace(np.float32(1.5).tobytes(), b"\0\0\0\0", 1))


def test_big_endian_files_are_refused() -> None:
    assert "little-endian" in refused(archive({"data.pkl": b"\x80\x02}.", "byteorder": b"big"}))


def test_a_zip_file_of_something_else_is_refused() -> None:
    assert "no record 'data.pkl'" in refused(archive({"word/document.xml": b"<a/>"}))
