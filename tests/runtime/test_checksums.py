"""Checksums of a checkpoint's files, by one process and by two together."""

import json
import sys
import zlib

import pytest

from ltpml_jax.errors import UserError
from ltpml_jax.runtime import checksums
from tests.helpers import runs


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "state" / "d").mkdir(parents=True)
    (tmp_path / "state" / "d" / "array").write_bytes(bytes(range(256)) * 5)
    (tmp_path / "identity").write_text("{}")
    checksums.seal(tmp_path)
    return tmp_path


def test_what_was_saved_is_whole_and_sealing_it_again_changes_nothing(folder):
    assert checksums.broken(folder) == ""
    before = (folder / checksums.FILE).read_bytes()
    checksums.seal(folder)
    assert (folder / checksums.FILE).read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == [checksums.FILE, "identity", "state"]
    assert json.loads(before) == {
        "identity": [2, zlib.crc32(b"{}")],
        "state/d/array": [1280, zlib.crc32(bytes(range(256)) * 5)],
    }


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


@pytest.mark.parametrize("text", ["", "[1]", '{"identity": 3', '{"identity": 3}', '{"identity": ["a", 1]}', "\0"])
def test_a_list_that_cannot_be_read_is_damage_too(folder, text):
    (folder / checksums.FILE).write_text(text)
    assert checksums.broken(folder).startswith("checksums.json cannot be read: ")


@pytest.mark.parametrize("name", ["state", "a\0b", "x" * 300])
def test_a_name_in_the_list_that_is_no_file_is_damage_too(folder, name):
    listed = json.loads((folder / checksums.FILE).read_text()) | {name: [1, 2]}
    (folder / checksums.FILE).write_text(json.dumps(listed))
    assert checksums.broken(folder).startswith(f"{name} cannot be read: ")


def test_the_first_fault_by_name_is_the_one_reported(folder):
    (folder / "identity").unlink()
    (folder / "state" / "d" / "array").unlink()
    assert checksums.broken(folder) == "identity is missing"


def test_a_list_that_cannot_be_written_is_a_user_error(folder):
    (folder / checksums.FILE).unlink()
    (folder / checksums.FILE).mkdir()
    with pytest.raises(UserError, match="Is a directory"):
        checksums.seal(folder)


def test_a_checkpoint_without_a_list_was_not_saved_to_its_end(folder):
    assert checksums.sealed(folder)
    (folder / checksums.FILE).unlink()
    assert not checksums.sealed(folder) and checksums.broken(folder) == "checksums.json is missing"


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_shares_are_all_files_once_and_about_equal(count):
    sizes = {f"file{number}": number**3 for number in range(40)} | {f"empty{number}": 0 for number in range(40)}
    shares = [checksums.share(sizes, number, count) for number in range(count)]
    assert sorted(name for names in shares for name in names) == sorted(sizes)
    loads = [sum(sizes[name] for name in names) for names in shares]
    assert max(loads) - min(loads) <= 0.02 * max(loads)
    assert shares == [checksums.share(dict(reversed(sizes.items())), number, count) for number in range(count)]


def test_largest_first_to_who_has_least():
    sizes = {"a": 5, "b": 9, "c": 4, "d": 1}
    assert checksums.share(sizes, 0, 2) == ["b", "d"] and checksums.share(sizes, 1, 2) == ["a", "c"]


PEER = """
import json, sys
from pathlib import Path
import jax
from ltpml_jax.errors import SharedError
from ltpml_jax.runtime import checksums, processes
folder, read, one = Path(sys.argv[1]), [], checksums._checksum
processes.join(False, 60, 60)
def noted(path):  # process 1 cannot see one of the files
    read.append(path.name)
    hidden = path.name == "hidden" and not processes.is_first()
    return one(path.with_name("hidden from me") if hidden else path)
checksums._checksum = noted
checksums.seal(folder)
found, first = [checksums.broken(folder)], list(read)
def change(action):
    processes.together(lambda: action() if processes.is_first() else None)
    found.append(checksums.broken(folder))
change(lambda: (folder / "z").write_bytes(b"9" * 899))
change(lambda: (folder / "m").unlink())
change(lambda: (folder / "a").write_bytes(b"8" * 900))
try:
    change((folder / checksums.FILE).unlink)
    change((folder / checksums.FILE).mkdir)
    checksums.seal(folder)
except SharedError as error:
    found.append(str(error))
print(json.dumps([first, found]))
"""


@pytest.mark.processes
def test_two_processes_read_half_each_and_say_the_same(tmp_path):
    for name, size in {"a": 1000, "m": 10, "z": 900, "hidden": 100}.items():
        (tmp_path / name).write_bytes(b"7" * size)
    done = runs.wait_all(runs.start_all([sys.executable, "-c", PEER, str(tmp_path)], 2), 120)
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    (first, found), (second, also) = (json.loads(one.stdout.splitlines()[-1]) for one in done)
    assert first == ["a", "m", "hidden"] * 2 and second == ["z", "hidden"] * 2  # sealed, then compared
    assert found == also and found[:-1] == [
        "",
        "z is not as it was saved",
        "m is missing",
        "a is not as it was saved",
        "checksums.json is missing",
        found[-2],
    ]
    assert found[-2].startswith("checksums.json cannot be read: ") and found[-1].startswith("process 0 (")
