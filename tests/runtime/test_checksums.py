"""Checksums of a checkpoint's files."""

import pytest

from ltpml_jax.runtime import checksums


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "state" / "d").mkdir(parents=True)
    (tmp_path / "state" / "d" / "array").write_bytes(bytes(range(256)) * 5)
    (tmp_path / "facts").write_text("{}")
    checksums.seal(tmp_path)
    return tmp_path


def test_what_was_saved_is_whole_and_sealing_it_again_changes_nothing(folder):
    assert checksums.broken(folder) == ""
    before = (folder / checksums.FILE).read_bytes()
    checksums.seal(folder)
    assert (folder / checksums.FILE).read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == [checksums.FILE, "facts", "state"]


@pytest.mark.parametrize("bit", [0, 777, 1279 * 8 + 7])
def test_any_bit_is_noticed(folder, bit):
    path = folder / "state" / "d" / "array"
    raw = bytearray(path.read_bytes())
    raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw)
    assert checksums.broken(folder) == "state/d/array is not as it was saved"


def test_a_shorter_and_a_missing_file_are_noticed(folder):
    path = folder / "state" / "d" / "array"
    path.write_bytes(path.read_bytes()[:-1])
    assert checksums.broken(folder) == "state/d/array is not as it was saved"
    path.unlink()
    assert checksums.broken(folder) == "state/d/array is missing"


@pytest.mark.parametrize("text", ["", "[1]", '{"facts": 3'])
def test_a_list_that_cannot_be_read_is_damage_too(folder, text):
    (folder / checksums.FILE).write_text(text)
    assert "checksums.json or a file that it names cannot be read" in checksums.broken(folder)


def test_a_checkpoint_without_a_list_was_not_saved_to_its_end(folder):
    assert checksums.sealed(folder)
    (folder / checksums.FILE).unlink()
    assert not checksums.sealed(folder) and checksums.broken(folder) == "checksums.json is missing"
