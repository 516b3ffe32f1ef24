"""Writing a prepared dataset: the same bytes however it is made, images untouched, kills survived, faults named."""

import fcntl
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltpml_jax.data import datasets, prepared
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.writing import shards, writer
from ltpml_jax.errors import UserError
from tests.helpers import trees

NAMES = ("dog", "traffic light", "tv_monitor")
SMALL = 60_000  # bytes of images in a shard, so that a small tree has many


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    trees.plant(root, [f"{number}.jpg" for number in range(40)], 20, ((200, 150), (150, 200)))
    return root


@pytest.fixture
def several(monkeypatch):
    monkeypatch.setattr(shards, "LEAST_BYTES", SMALL)


def listing_of(root: Path, train: int = 30, test: int = 10) -> Listing:
    states = np.random.default_rng(0).integers(0, 4, (train + test, 3)).astype(np.int8)
    rows = {"train": range(train), "test": range(train, train + test)}
    splits = {
        split: ListedSplit([f"no {row}" for row in part], [str(root / f"{row}.jpg") for row in part], states[part])
        for split, part in rows.items()
    }
    return Listing(NAMES, splits, notes=["a note"])


def copy_of(tree: Path, place: Path) -> Path:
    place.mkdir()
    for file in tree.glob("*.jpg"):
        os.link(file, place / file.name)
    return place


def content(out: Path) -> dict[str, str]:
    folder = prepared.folder_of("mine", out)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_records_hold_the_files_as_they_are_in_order(tree, several, tmp_path):
    listing = listing_of(tree)
    written = writer.write("mine", listing, tmp_path, jobs=1, arguments={"images": "here"})
    assert not written.was_there and written.metadata["arguments"] == {"images": "here"}
    dataset = datasets.load("mine", str(tmp_path))
    assert dataset.class_names == NAMES
    for split, listed in ((dataset.train, listing.splits["train"]), (dataset.test, listing.splits["test"])):
        np.testing.assert_array_equal(split.labels, listed.states)
        assert len(split.records) == len(listed.ids)
        for row, path in enumerate(listed.paths):
            record = split.records[row]
            assert record["image"] == Path(path).read_bytes()
            assert (record["index"], record["id"]) == (row, listed.ids[row])
            np.testing.assert_array_equal(record["labels"], listed.states[row])
    assert sum(name.startswith("lt_pml-train") for name in content(tmp_path)) > 3
    assert sorted(path.name for path in (tmp_path / "lt_pml" / "mine").iterdir()) == [".lock", "1.0.0"]


@pytest.mark.processes
def test_any_number_of_processes_writes_the_same_bytes(tree, several, tmp_path):
    for jobs in (1, 2):
        writer.write("mine", listing_of(tree), tmp_path / str(jobs), jobs=jobs)
    assert content(tmp_path / "1") == content(tmp_path / "2")


def test_prepared_again_it_is_left_as_it_is(tree, tmp_path):
    first = writer.write("mine", listing_of(tree), tmp_path, jobs=1)
    changed = (prepared.folder_of("mine", tmp_path) / prepared.METADATA).stat().mtime
    again = writer.write("mine", listing_of(tree), tmp_path, jobs=1)
    assert again.was_there and again.metadata == first.metadata
    assert (prepared.folder_of("mine", tmp_path) / prepared.METADATA).stat().mtime == changed


def test_another_dataset_of_that_name_is_replaced_only_when_asked(tree, tmp_path):
    writer.write("mine", listing_of(tree), tmp_path, jobs=1)
    other = listing_of(tree, 20, 10)
    with pytest.raises(UserError, match="holds another dataset .* --overwrite"):
        writer.write("mine", other, tmp_path, jobs=1)
    assert not writer.write("mine", other, tmp_path, jobs=1, overwrite=True).was_there
    assert len(datasets.load("mine", str(tmp_path)).train.records) == 20


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../a", "a:1", "-a", "é"])
def test_names_that_tfds_does_not_take_are_refused(tree, tmp_path, name):
    with pytest.raises(UserError, match="cannot name a dataset"):
        writer.write(name, listing_of(tree), tmp_path, jobs=1)


def test_the_names_of_embedded_datasets_are_taken(tree, tmp_path):
    with pytest.raises(UserError, match="'digits_mlt' comes with this package"):
        writer.write("digits_mlt", listing_of(tree), tmp_path, jobs=1)


def test_both_splits_are_needed(tree, tmp_path):
    listing = listing_of(tree)
    with pytest.raises(UserError, match="no image in the split test; list some, or give --test_share"):
        writer.write("mine", replace(listing, splits={"train": listing.splits["train"]}), tmp_path, jobs=1)


def damage(root: Path) -> None:
    (root / "3.jpg").unlink()
    trees.replace(root / "8.jpg", trees.photograph(1, (200, 150))[:3000])
    trees.replace(root / "33.jpg", b"<html>")


@pytest.mark.processes
def test_bad_images_stop_it_all_named_and_good_shards_stay(tree, several, tmp_path, caplog):
    root = copy_of(tree, tmp_path / "images")
    damage(root)
    with pytest.raises(UserError) as caught:
        writer.write("mine", listing_of(root), tmp_path / "out", jobs=2)
    home = tmp_path / "out" / "lt_pml" / "mine"
    message = str(caught.value)
    assert message.startswith(f"Of 40 images, 1 are missing, 2 corrupt, all named in {home}/")
    assert "--skip-bad" in message
    named = (home / "bad_images.txt").read_text().splitlines()
    assert named[0] == f"{root}/3.jpg: missing" and named[2] == f"{root}/33.jpg: not an image file"
    assert named[1].startswith(f"{root}/8.jpg: ") and "truncated" in named[1]
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == named
    assert not (home / "1.0.0").exists() and len(list((home / "incomplete").iterdir())) > 2


def test_what_is_no_image_of_ours_is_of_another_kind(tree, tmp_path):
    root = copy_of(tree, tmp_path / "images")
    for number in (3, 8, 33):
        (root / f"{number}.jpg").unlink()
    (root / "3.jpg").mkdir()
    os.mkfifo(root / "8.jpg")
    Image.new("RGB", (8, 8)).save(root / "33.jpg", "WEBP")
    with pytest.raises(UserError, match="Of 40 images, 0 are missing, 0 corrupt, 3 of another kind, all named"):
        writer.write("mine", listing_of(root), tmp_path / "out", jobs=1)
    named = (tmp_path / "out" / "lt_pml" / "mine" / "bad_images.txt").read_text().splitlines()
    assert [line.partition(": ")[2].partition(",")[0] for line in named] == [
        "a folder",
        "a pipe or a device",
        "a WEBP file",
    ]


def test_bad_images_can_be_left_out(tree, several, tmp_path):
    root = copy_of(tree, tmp_path / "images")
    damage(root)
    listing = listing_of(root)
    said = np.array([[row, 0, 1, 1] for row in (2, 3, 4)])
    train = replace(listing.splits["train"], disagreements=said)
    listing = replace(listing, splits={**listing.splits, "train": train})
    metadata = writer.write("mine", listing, tmp_path / "out", jobs=1, skip_bad=True).metadata
    folder, shape = prepared.folder_of("mine", tmp_path / "out"), (28, len(listing.class_names))
    assert prepared.disagreements(folder, "train", shape)[:, 0].tolist() == [2, 3]  # of 2 and 4, as 3 is left out
    assert [(image["split"], image["id"]) for image in metadata["skipped"]] == [
        ("train", "no 3"),
        ("train", "no 8"),
        ("test", "no 33"),
    ]
    dataset = datasets.load("mine", str(tmp_path / "out"))
    kept = [row for row in range(30) if row not in (3, 8)]
    np.testing.assert_array_equal(dataset.train.labels, listing.splits["train"].states[kept])
    assert [record["id"] for record in dataset.train.records] == [f"no {row}" for row in kept]
    assert [record["index"] for record in dataset.train.records] == list(range(28))
    positives = (listing.splits["train"].states[kept] == 1).sum(0)
    assert np.all(np.asarray(metadata["splits"]["train"]["class_counts"]) >= positives)
    assert metadata["notes"][:2] == ["a note", "Annotators disagree on labels: 2, of images: 2."]
    assert "skipped images change class counts in train" in metadata["notes"][2]


def test_a_replaced_image_is_all_that_is_written_again(tree, several, tmp_path):
    root = copy_of(tree, tmp_path / "images")
    trees.replace(root / "39.jpg", b"")
    with pytest.raises(UserError, match="0 are missing, 1 corrupt"):
        writer.write("mine", listing_of(root), tmp_path / "out", jobs=1)
    first = tmp_path / "out" / "lt_pml" / "mine" / "incomplete" / "lt_pml-train.array_record-00000-of-"
    (before,) = first.parent.glob(f"{first.name}*")
    stamp = os.stat(before).st_mtime_ns
    trees.replace(root / "39.jpg", trees.photograph(5))
    writer.write("mine", listing_of(root), tmp_path / "out", jobs=1)
    (after,) = prepared.folder_of("mine", tmp_path / "out").glob(f"{first.name}*")
    assert os.stat(after).st_mtime_ns == stamp
    writer.write("mine", listing_of(root), tmp_path / "fresh", jobs=1)
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


def test_a_split_without_any_image_left_is_an_error(tree, tmp_path):
    listing = listing_of(tree)
    gone = replace(listing.splits["test"], paths=[f"{tree}/gone {row}" for row in range(10)])
    with pytest.raises(UserError, match="No image of the split test can be used"):
        writer.write("mine", replace(listing, splits={**listing.splits, "test": gone}), tmp_path, jobs=1, skip_bad=True)


def test_two_at_once_are_locked_out(tree, tmp_path):
    home = tmp_path / "lt_pml" / "mine"
    home.mkdir(parents=True)
    with open(home / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="Another process is preparing"):
            writer.write("mine", listing_of(tree), tmp_path, jobs=1)
    writer.write("mine", listing_of(tree), tmp_path, jobs=1)


def test_a_folder_that_cannot_be_written_is_named(tree, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"Cannot write .*file.*give another --out"):
        writer.write("mine", listing_of(tree), tmp_path / "file", jobs=1)


@pytest.mark.processes
def test_a_full_disk_is_named(tree, several, tmp_path):
    """/dev/full cannot hold a folder, but a limit on file sizes fails in the same way."""
    script = tmp_path / "run.py"
    script.write_text("import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + RUN)
    script.write_text(script.read_text().replace("    shards.LEAST", f"    {LIMIT}\n    shards.LEAST"))
    done = run_script(script, tree, tmp_path / "out", 1)
    assert (
        done.returncode == 1 and "UserError: Cannot write" in done.stderr and "the same command resumes" in done.stderr
    )
    writer.write("mine", listing_of(tree), tmp_path / "out", jobs=1)


LIMIT = "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
RUN = """
import sys
from pathlib import Path
from ltpml_jax.data.writing import shards
from ltpml_jax.data.writing import writer
from tests.data.writing.test_writer import SMALL, listing_of
if __name__ == "__main__":
    shards.LEAST_BYTES = SMALL
    writer.write("mine", listing_of(Path(sys.argv[1])), sys.argv[2], jobs=int(sys.argv[3]))
"""


def run_script(script: Path, *arguments: object) -> subprocess.CompletedProcess:
    root = Path(__file__).parents[3]
    command = [sys.executable, str(script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=60)


@pytest.mark.processes
def test_killed_at_any_moment_it_resumes_and_ends_the_same(tree, several, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    killed = 0
    for attempt in range(4):
        command = [sys.executable, str(script), str(tree), str(tmp_path / "out"), str(1 + attempt % 2)]
        process = subprocess.Popen(command, env=environment, cwd=root)
        incomplete = tmp_path / "out" / "lt_pml" / "mine" / "incomplete"
        until = time.monotonic() + 20
        while process.poll() is None and not incomplete.exists() and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(attempt and random.uniform(0, 0.6 if attempt % 2 else 0.1))  # workers take a while to start
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed > 0
    for _ in range(100):  # workers of the last one notice within a moment
        try:
            writer.write("mine", listing_of(tree), tmp_path / "out", jobs=1)
            break
        except UserError as error:
            assert "Another process" in str(error)
            time.sleep(0.1)
    writer.write("mine", listing_of(tree), tmp_path / "fresh", jobs=1)
    assert content(tmp_path / "out") == content(tmp_path / "fresh")
    assert sorted(path.name for path in (tmp_path / "out" / "lt_pml" / "mine").iterdir()) == [".lock", "1.0.0"]
