"""Checksums of a checkpoint's files."""

import pytest

from ltpml_jax import seals


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "state" / "d").mkdir(parents=True)
    (tmp_path / "state" / "d" / "array").write_bytes(bytes(range(256)) * 5)
    (tmp_path / "facts").write_text("{}")
    seals.seal(tmp_path)
    return tmp_path


def test_what_was_saved_is_whole_and_sealing_it_again_changes_nothing(folder):
    assert seals.broken(folder) == ""
    before = (folder / seals.FILE).read_bytes()
    seals.seal(folder)
    assert (folder / seals.FILE).read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == [seals.FILE, "facts", "state"]


@pytest.mark.parametrize("bit", [0, 777, 1279 * 8 + 7])
def test_any_bit_is_noticed(folder, bit):
    path = folder / "state" / "d" / "array"
    raw = bytearray(path.read_bytes())
    raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw)
    assert seals.broken(folder) == "state/d/array is not as it was saved"


def test_a_shorter_and_a_missing_file_are_noticed(folder):
    path = folder / "state" / "d" / "array"
    path.write_bytes(path.read_bytes()[:-1])
    assert seals.broken(folder) == "state/d/array is not as it was saved"
    path.unlink()
    assert seals.broken(folder) == "state/d/array is missing"


@pytest.mark.parametrize("text", ["", "[1]", '{"facts": 3'])
def test_a_list_that_cannot_be_read_is_damage_too(folder, text):
    (folder / seals.FILE).write_text(text)
    assert "checksums.json or a file that it names cannot be read" in seals.broken(folder)


def test_a_checkpoint_without_a_list_was_not_saved_to_its_end(folder):
    assert seals.sealed(folder)
    (folder / seals.FILE).unlink()
    assert not seals.sealed(folder) and seals.broken(folder) == "checksums.json is missing"
