import hashlib
import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest

from ltpml_jax.data import manifest
from ltpml_jax.data.labels import LabelState
from ltpml_jax.errors import UserError

NEGATIVE, POSITIVE, CANDIDATE, UNKNOWN = LabelState
TABLE = np.array([[0, 2, 3], [1, 0, 2]], np.int8)
FACTS = {"kind": "partial", "parameters": {"rate": 0.3}, "seed": 1, "dataset": "vögel", "source": "0" * 64}
GOLDEN = "41ccf453d7bbfcaedb2f0a71bca582fcd8074ebc43776570f84530f26f5cb183"  # of the file that they give


@pytest.fixture
def path(tmp_path):
    manifest.save(tmp_path / "some.npz", TABLE, FACTS)
    return tmp_path / "some.npz"


def refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        manifest.load(path)
    text = str(caught.value)
    assert str(path) in text and "; make it again with `ltpml corrupt`." in text, text
    return text


def test_a_manifest_comes_back_as_it_was_saved(path):
    found = manifest.load(path)
    assert found.table.tolist() == TABLE.tolist() and found.table.dtype == np.int8
    assert found.facts == FACTS
    assert found.digest == hashlib.sha256(b"int8[2,3]" + bytes([0, 2, 3, 1, 0, 2])).hexdigest()


def test_equal_content_gives_equal_bytes(path, tmp_path):
    manifest.save(tmp_path / "other.npz", TABLE.astype(np.int64), dict(reversed(FACTS.items())))
    assert (tmp_path / "other.npz").read_bytes() == path.read_bytes()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == GOLDEN
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other.npz", "some.npz"]


def test_numpy_reads_it_without_objects(path):
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["table"].tolist() == TABLE.tolist()
        assert json.loads(arrays["facts"].tobytes()) == FACTS


def test_every_damaged_byte_of_its_content_is_found(path):
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        parts = {part.header_offset: part.file_size for part in archive.infolist()}
    for header, size in parts.items():
        start = header + 30 + sum(struct.unpack_from("<HH", data, header + 26))  # the name and a field of extras
        for place in range(start, start + size):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            refusal(path)


def test_every_truncation_is_refused(path):
    data = path.read_bytes()
    for end in range(0, len(data), 7):
        path.write_bytes(data[:end])
        assert "is not a manifest" in refusal(path) or "is damaged" in refusal(path)


def test_content_that_was_changed_along_with_its_zip_is_found(path):
    with np.load(path) as arrays:
        parts = dict(arrays)
    for name, changed in (("table", TABLE * 0), ("facts", np.frombuffer(b'{"kind": "keep"}', np.uint8))):
        np.savez(path, **(parts | {name: changed}))
        assert "is damaged (its sha256 is another)" in refusal(path)


def test_other_files_are_told_from_manifests(path, tmp_path):
    assert "cannot be read" in refusal(tmp_path / "none.npz")
    assert "cannot be read" in refusal(tmp_path)
    for data in (b"", b"some text", pickle.dumps(TABLE)):
        path.write_bytes(data)
        assert "is not a manifest of candidate sets (an .npz file)" in refusal(path)
    np.savez(path, weights=TABLE)
    assert "is not a manifest of candidate sets (it has no 'table')" in refusal(path)
    np.savez(path, table=TABLE.astype(float), facts=np.zeros(1, np.uint8), sha256=np.zeros(32, np.uint8))
    assert "is not a manifest of candidate sets (its table is float64 with 2 axes)" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "is not a manifest" in refusal(path)


def test_objects_in_it_are_never_unpickled(path, tmp_path):
    class Attack:
        def __reduce__(self):
            return open, (str(tmp_path / "canary"), "w")

    np.savez(path, table=np.array([[Attack()]], object), facts=np.zeros(1, np.uint8), sha256=np.zeros(32, np.uint8))
    assert "is damaged" in refusal(path)
    assert not (tmp_path / "canary").exists()


def test_an_archive_that_unpacks_to_gigabytes_is_refused(path):
    data = path.read_bytes()
    directory = data.index(b"PK\x01\x02")
    path.write_bytes(data[: directory + 24] + struct.pack("<I", 2**31) + data[directory + 28 :])
    assert "it unpacks to more than 1 GiB" in refusal(path)


def test_a_shape_that_the_content_does_not_have_is_refused(path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|i1", "fortran_order": False, "shape": (2**30, 2**30)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("table.npy", header.getvalue())
        archive.writestr("facts.npy", b"")
        archive.writestr("sha256.npy", b"")
    assert "is damaged" in refusal(path)


def test_states_that_do_not_exist_are_refused(path):
    manifest.save(path, TABLE + 4, FACTS)
    assert "is damaged" in refusal(path)


def test_names_and_folders_that_do_not_do_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"some\.npy does not end in \.npz; "):
        manifest.save(tmp_path / "some.npy", TABLE, FACTS)
    with pytest.raises(UserError, match=r"some\.npz cannot be written"):
        manifest.save(tmp_path / "none" / "some.npz", TABLE, FACTS)


def found(table: np.ndarray) -> manifest.Manifest:
    return manifest.Manifest(table.astype(np.int8), FACTS, manifest.digest(table))


def test_a_table_that_can_belong_to_a_dataset_is_accepted():
    clean = np.array([[0, 1, 0], [1, 0, 0]], np.int8)
    for state in (POSITIVE, CANDIDATE, UNKNOWN):
        for other in (NEGATIVE, CANDIDATE, UNKNOWN):
            manifest.check(found(np.where(clean, state, other)), clean, "voc")
    manifest.check(found(clean), np.full_like(clean, UNKNOWN), "voc")


def test_a_table_that_cannot_belong_to_a_dataset_is_refused():
    clean = np.array([[0, 1, 0], [1, 0, 0], [1, 1, 0]], np.int8)
    with pytest.raises(UserError, match="are of 2 x 3 images and classes, voc has 3 x 3; use those made for voc"):
        manifest.check(found(clean[:2]), clean, "voc")
    for wrong in (np.roll(clean, 1, 0), np.where(clean, NEGATIVE, UNKNOWN), np.where(clean, UNKNOWN, POSITIVE)):
        with pytest.raises(UserError, match="contradict . labels of voc, first in row 0 .* follow another list of im"):
            manifest.check(found(wrong), clean, "voc")
    with pytest.raises(UserError, match="contradict 1 labels of voc, first in row 2 "):
        manifest.check(found(np.array([[0, 1, 0], [1, 0, 0], [1, 0, 0]])), clean, "voc")
