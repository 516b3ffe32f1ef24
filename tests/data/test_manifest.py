import hashlib
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from ltpml_jax.data import manifest
from ltpml_jax.data.candidates import LabelRows
from ltpml_jax.data.labels import LabelState
from ltpml_jax.errors import UserError
from tests.helpers.contents import put

NEGATIVE, POSITIVE, CANDIDATE, UNKNOWN = LabelState
TABLE = np.array([[0, 2, 3], [1, 0, 2]], np.int8)
ORIGIN = {"kind": "partial", "parameters": {"rate": 0.3}, "seed": 1, "dataset": "vögel", "source": "0" * 64}
GOLDEN = "76ce05eb59494e86dcb407867caf33e276457f20587a1faa2732b356c5c97a04"  # of the file that they give


@pytest.fixture
def path(tmp_path) -> Path:
    manifest.save(tmp_path / "some.safetensors", TABLE, ORIGIN)
    return tmp_path / "some.safetensors"


def refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        manifest.load(path)
    text = str(caught.value)
    assert str(path) in text and "; make it again with `ltpml corrupt`." in text, text
    return text


def entry(path: Path) -> str:
    with safe_open(path, framework="numpy") as opened:
        return opened.metadata()["ltpml_jax"]


def test_a_manifest_comes_back_as_it_was_saved(path):
    found = manifest.load(path)
    assert found.table.tolist() == TABLE.tolist() and found.table.dtype == np.int8
    assert found.origin == ORIGIN
    assert found.digest == hashlib.sha256(b"int8[2,3]" + bytes([0, 2, 3, 1, 0, 2])).hexdigest()


def test_equal_content_gives_equal_bytes(path, tmp_path):
    manifest.save(tmp_path / "other.safetensors", TABLE.astype(np.int64), dict(reversed(ORIGIN.items())))
    assert (tmp_path / "other.safetensors").read_bytes() == path.read_bytes()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == GOLDEN
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other.safetensors", "some.safetensors"]


def test_others_may_read_it_as_the_umask_says(path, tmp_path):
    (tmp_path / "plain").write_text("")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_safetensors_reads_it(path):
    with safe_open(path, framework="numpy") as opened:
        assert opened.get_tensor("table").tolist() == TABLE.tolist()
    assert json.loads(entry(path))["origin"] == ORIGIN


def test_every_damaged_byte_is_found(path):
    data = path.read_bytes()
    for place in range(len(data)):
        put(path, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        refusal(path)


def test_every_truncation_is_refused(path):
    data = path.read_bytes()
    for end in range(len(data)):
        put(path, data[:end])
        assert "is no manifest of candidate sets, or a damaged one" in refusal(path)
    path.write_bytes(data + b"\0")
    assert "is no manifest of candidate sets, or a damaged one" in refusal(path)


def test_content_that_was_changed_along_with_its_file_is_found(path):
    kept = entry(path)
    for table, text in (
        (TABLE * 0, kept),
        (TABLE, kept.replace("partial", "missing")),
        (TABLE.reshape(3, 2), kept),
    ):
        save_file({"table": table}, path, {"ltpml_jax": text})
        assert "is damaged (its sha256 is another)" in refusal(path)


def test_other_files_are_distinguished_from_manifests(path, tmp_path):
    kept = entry(path)
    assert "cannot be read" in refusal(tmp_path / "none.safetensors")
    assert "cannot be read (it is no regular file)" in refusal(tmp_path)
    for data in (b"", b"some text", pickle.dumps(TABLE)):
        path.write_bytes(data)
        assert "is no manifest of candidate sets" in refusal(path)
    for tensors in ({}, {"weights": TABLE}, {"table": TABLE, "more": TABLE}):
        save_file(tensors, path, {"ltpml_jax": kept})
        assert "or other tensors than 'table'" in refusal(path)
    save_file({"table": TABLE}, path)
    assert "it has no metadata 'ltpml_jax'" in refusal(path)
    for table in (TABLE.astype(np.float32), TABLE.view(np.uint8), TABLE[0], TABLE[:0]):
        save_file({"table": np.ascontiguousarray(table)}, path, {"ltpml_jax": kept})
        assert "its table is " in refusal(path)
    for text in ("", "[]", "{}", "1", '{"origin": 1, "sha256": 2}', "[" * 100_000, '{"origin": {"a": "\\ud800"}}'):
        save_file({"table": TABLE}, path, {"ltpml_jax": text})
        assert "is no manifest of candidate sets" in refusal(path)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_might_never_end_is_not_read(tmp_path, kind):
    path = tmp_path / "some.safetensors"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    assert "cannot be read (it is no regular file)" in refusal(path)


def test_states_that_do_not_exist_are_refused(path):
    for wrong in (TABLE + 4, -TABLE):
        manifest.save(path, wrong, ORIGIN)
        assert "is damaged" in refusal(path)


def test_names_and_folders_that_do_not_do_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"some\.npz does not end in \.safetensors; "):
        manifest.save(tmp_path / "some.npz", TABLE, ORIGIN)
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none/some.safetensors", tmp_path / "folder.safetensors", tmp_path / "file/a.safetensors"):
        with pytest.raises(UserError, match=rf"{path} cannot be written \(.*; name a file in a writable folder"):
            manifest.save(path, TABLE, ORIGIN)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder.safetensors"]


def save_as_before(path: Path, origin: object, **more: np.ndarray) -> None:
    """An .npz, as earlier versions wrote manifests."""
    written = np.frombuffer(json.dumps(origin, sort_keys=True, ensure_ascii=False).encode(), np.uint8)
    np.savez(path, **({"table": TABLE, "facts": written, "sha256": np.zeros(32, np.uint8)} | more))


GENERAL = "--dataset=NAME --kind=KIND"
KEPT = {"rate": 0.4, "keep_one": True}
OLDER = [
    (ORIGIN | {"dataset": "voc_mlt"}, "--dataset=voc_mlt --kind=partial --rate=0.3 --seed=1"),
    (
        ORIGIN | {"dataset": "my-data", "kind": "missing", "parameters": KEPT, "seed": 0},
        "--dataset=my-data --kind=missing --keep_one=true --rate=0.4 --seed=0",
    ),
    (ORIGIN | {"dataset": "a", "kind": "single", "parameters": {}}, "--dataset=a --kind=single --seed=1"),
    ({"dataset": "a", "kind": "import", "parameters": {}, "seed": None}, "--dataset=a --import_npy=FILE"),
    (ORIGIN | {"dataset": "$(rm -r ~)"}, GENERAL),
    (ORIGIN | {"parameters": {"rate": [1]}}, GENERAL),
    ({"kind": "partial"}, GENERAL),
    ([1], GENERAL),
]


@pytest.mark.parametrize(("origin", "flags"), OLDER)
def test_an_older_manifest_is_refused_with_the_command_that_makes_it_anew(tmp_path, origin, flags):
    path = tmp_path / "older.npz"
    save_as_before(path, origin)
    with pytest.raises(UserError) as caught:
        manifest.load(path)
    assert str(caught.value) == (
        f"{path} is an .npz file, as earlier versions wrote manifests; make it anew with "
        f"`ltpml corrupt {flags} --out={path.with_suffix('.safetensors')}`."
    )


def test_a_hostile_older_manifest_is_neither_run_nor_unpacked(tmp_path):
    class Attack:
        def __reduce__(self):
            return open, (str(tmp_path / "canary"), "w")

    path = tmp_path / "older.npz"
    for array in (np.array([Attack()], object), np.zeros(2**27, np.uint8)):
        np.savez_compressed(path, facts=array)
        with pytest.raises(UserError, match=GENERAL):
            manifest.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match=GENERAL):
        manifest.load(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(UserError, match=GENERAL):
        manifest.load(path)
    assert not (tmp_path / "canary").exists()


def test_a_loaded_table_stays_in_its_file_on_the_way_to_other_processes(tmp_path):
    path = tmp_path / "large.safetensors"
    table = np.random.default_rng(0).integers(0, 4, (20_000, 20)).astype(np.int8)
    manifest.save(path, table, ORIGIN)
    rows = LabelRows(manifest.load(path).table, np.arange(20_000), "unknown")
    packed = pickle.dumps(rows)
    assert len(packed) < 20_000 * 8 + 2000  # the numbers of its rows, and no states
    np.testing.assert_array_equal(pickle.loads(packed)[7:9], table[7:9])


# 64 MiB of states; what a process may allocate beyond what it has is limited to half of that.
LARGE = """
import re, resource, sys
from pathlib import Path
import numpy as np
from ltpml_jax.data import manifest
table = np.random.default_rng(0).integers(0, 4, (2**20, 64), np.int8)
path = Path(sys.argv[1])
digest = manifest.save(path, table, {}).digest
del table
has = int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (has + 2**25, has + 2**25))
found = manifest.load(path)
manifest.check(found, found.table, "itself")
assert found.digest == digest
"""


@pytest.mark.processes
@pytest.mark.skipif(sys.platform != "linux", reason="/proc and the limit are Linux's")
def test_loading_makes_no_copy_of_the_table(tmp_path):
    command = [sys.executable, "-c", LARGE, str(tmp_path / "large.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_manifests_live_on_other_machines_too(bucket, tmp_path):
    path = f"{bucket}/some.safetensors"
    assert "cannot be read (there is no such file)" in refusal(path)
    for table in (TABLE, TABLE[:, :2]):
        manifest.save(path, table, ORIGIN)
        for _ in range(2):
            assert manifest.load(path).table.tolist() == table.tolist()
    assert len(list((tmp_path / "cache/ltpml_jax/manifests").iterdir())) == 2


def found(table: np.ndarray) -> manifest.Manifest:
    return manifest.Manifest(table.astype(np.int8), ORIGIN, manifest.digest(table))


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
