"""Opening prepared datasets: by TFDS alone, on another machine, and damaged ones with one sentence."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from etils import epath

from ltpml_jax.data import datasets, prepared
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.writing import writer
from ltpml_jax.errors import UserError
from tests.helpers import trees

STATES = np.array([[1, 0], [0, 2], [3, 1], [0, 0]], np.int8)


@pytest.fixture(scope="module")
def listing(tmp_path_factory) -> Listing:
    root = tmp_path_factory.mktemp("images")
    trees.plant(root, [f"{number}.jpg" for number in range(4)], 4, ((64, 48),))
    split = ListedSplit(list("abcd"), [str(root / f"{number}.jpg") for number in range(4)], STATES)
    groups = {group: np.array(mask) for group, mask in (("head", [0, 1]), ("medium", [0, 0]), ("tail", [1, 0]))}
    groups = {group: mask.astype(bool) for group, mask in groups.items()}
    return Listing(("dog", "traffic light"), {"train": split, "validation": split, "test": split}, groups)


@pytest.fixture
def out(listing, tmp_path):
    writer.write("my-data", listing, tmp_path, jobs=1)
    return tmp_path


def test_what_was_written_is_opened(out, listing):
    opened = prepared.open_folder(prepared.folder_of("my-data", out))
    assert opened.class_names == listing.class_names and sorted(opened.states) == ["test", "train", "validation"]
    for states in opened.states.values():
        np.testing.assert_array_equal(states, STATES)
    assert {group: mask.tolist() for group, mask in opened.groups.items()} == {
        "head": [False, True],
        "medium": [False, False],
        "tail": [True, False],
    }


BY_TFDS = """
import sys
{first}
import tensorflow_datasets as tfds
builder = tfds.builder("lt_pml/my-data", data_dir=sys.argv[1])
records = builder.as_data_source(split="train")
same = tfds.data_source("lt_pml/my-data:1.0.0", data_dir=sys.argv[1], split="train[2:]")
info = builder.info
print(info.full_name, info.splits["validation"].num_examples, info.features["labels"].feature.names)
print(records[1]["image"].shape, [[int(i) for i in records[1][key]] for key in ("labels", "candidates", "unknown")])
print(len(same), int(same[0]["index"]), same[0]["id"].decode(), [int(i) for i in same[0]["unknown"]])
print([name for name in ("tensorflow", "torch", "jax") if name in sys.modules])
"""


@pytest.mark.processes
@pytest.mark.parametrize("first", ["", "import ltpml_jax"])
def test_tfds_opens_it_without_tensorflow_and_without_us(out, first):
    command = [sys.executable, "-c", BY_TFDS.format(first=first), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        "lt_pml/my-data/1.0.0 4 ['dog', 'traffic light']",
        "(48, 64, 3) [[], [1], []]",
        "2 2 c [0]",
        "[]",
    ], done.stderr


def damaged(folder, words):
    with pytest.raises(UserError, match=rf"is damaged \(.*{words}.*\); delete that folder and prepare it again"):
        prepared.open_folder(folder)


def test_damage_is_named(out):
    folder = prepared.folder_of("my-data", out)
    shard = folder / "lt_pml-train.array_record-00000-of-00001"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    damaged(folder, "lt_pml-train.array_record-00000-of-00001 has .* bytes, not")
    shard.unlink()
    damaged(folder, "00000-of-00001 has -1 bytes")
    shard.write_bytes(whole)
    prepared.open_folder(folder)
    np.save(folder / "labels-test.npy", STATES.astype(np.int8)[:, :1].repeat(2, 1).T.copy())
    damaged(folder, "labels-test.npy")
    (folder / prepared.METADATA).write_text("{")
    damaged(folder, "lt_pml.json")
    (folder / prepared.METADATA).unlink()
    damaged(folder, "lt_pml.json")


@pytest.mark.parametrize(
    "changed",
    [
        {"files": []},
        {"files": {"../../../../etc/passwd": os.path.getsize("/etc/passwd")}},
        {"splits": []},
        {"splits": {"train": {"images": 4}}},
        {"splits": {"test": 4}},
        {"splits": {"train": {"images": 4}, "test": {"images": 4}}},
        {"classes": 2},
        {"classes": []},
        {"classes": "ab"},
        {"classes": [1, 2]},
        {"classes": ["dog", "dog"]},
        {"classes": ["dog", "\ud800"]},
        {"groups": {"head": [0, 1], "medium": [], "tail": [1]}},
        {"plan": None},
        {"skipped": [{}]},
        {"pairs": [["dog", "cat"]]},
        {"sha256": {"../../../../etc/passwd": "0"}},
        {"groups": None},
        {"sha256": {"labels-test.npy": "0"}},
    ],
)
def test_metadata_that_is_not_as_written_is_damage(out, changed):
    folder = prepared.folder_of("my-data", out)
    metadata = json.loads((folder / prepared.METADATA).read_text())
    (folder / prepared.METADATA).write_text(json.dumps(metadata | changed))
    damaged(folder, "")


@pytest.mark.parametrize("field", ["plan", "splits", "classes", "groups_from", "notes"])
def test_preparing_again_over_metadata_that_lacks_a_field_names_the_damage(out, listing, field):
    folder = prepared.folder_of("my-data", out)
    metadata = json.loads((folder / prepared.METADATA).read_text())
    del metadata[field]
    (folder / prepared.METADATA).write_text(json.dumps(metadata))
    with pytest.raises(UserError, match=rf"is damaged \(lt_pml.json: the field '{field}' is not as written\); delete"):
        writer.write("my-data", listing, out, jobs=1)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00\x02\x00((", np.full((4, 2), 7, np.int8)])
def test_label_files_of_the_right_size_with_other_content_are_damage(out, content):
    folder = prepared.folder_of("my-data", out)
    file = folder / "labels-test.npy"
    if isinstance(content, bytes):
        size = len(file.read_bytes()) if content else 0
        file.write_bytes(content.ljust(size, b" "))
    else:
        np.save(file, content)
    metadata = json.loads((folder / prepared.METADATA).read_text())
    metadata["files"]["labels-test.npy"] = len(file.read_bytes())
    (folder / prepared.METADATA).write_text(json.dumps(metadata))
    damaged(folder, "")


def test_metadata_of_endless_depth_is_damage(out):
    folder = prepared.folder_of("my-data", out)
    (folder / prepared.METADATA).write_text("[" * 1_000_000)
    damaged(folder, "lt_pml.json")


def test_datasets_live_on_other_machines_too(bucket, listing, tmp_path):
    writer.write("my-data", listing, bucket, jobs=1)
    assert (epath.Path(bucket) / "lt_pml/my-data/1.0.0/lt_pml.json").exists()
    assert writer.write("my-data", listing, bucket, jobs=1).was_there
    first = datasets.load("my-data", bucket)
    np.testing.assert_array_equal(first.train.labels, STATES)
    assert first.train.records[2]["image"] == epath.Path(listing.splits["train"].paths[2]).read_bytes()
    copies = list((tmp_path / "cache/ltpml_jax/datasets").iterdir())
    datasets.load("my-data", bucket)
    assert list((tmp_path / "cache/ltpml_jax/datasets").iterdir()) == copies and len(copies) == 1


def test_images_live_on_other_machines_too(bucket, listing, tmp_path):
    remote = epath.Path(bucket) / "images"
    remote.mkdir(parents=True)
    split = listing.splits["train"]
    paths = [str(remote / f"{number}.jpg") for number in range(4)]
    for path, local in zip(paths, split.paths, strict=True):
        epath.Path(path).write_bytes(epath.Path(local).read_bytes())
    there = ListedSplit(split.ids, paths, split.states)
    writer.write("far", Listing(listing.class_names, {"train": there, "test": there}), tmp_path, jobs=1)
    assert datasets.load("far", str(tmp_path)).test.records[1]["image"] == epath.Path(split.paths[1]).read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        np.zeros((1, 4), np.int32),
        np.ones((1, 3), np.int64),
        np.array([[4, 0, 1, 1]]),
        np.array([[0, 2, 1, 1]]),
        np.array([[0, 0, 1, 0]]),
        np.array([{}], object),
    ],
)
def test_disagreements_of_another_form_are_damage(out, content):
    folder = prepared.folder_of("my-data", out)
    np.save(folder / "disagreements-train.npy", content, allow_pickle=True)
    with pytest.raises(UserError, match="is damaged .*; delete that folder and prepare it again"):
        prepared.disagreements(folder, "train", (4, 2))
    assert prepared.disagreements(folder, "test", (4, 2)).shape == (0, 4)


def test_who_disagrees_decides_whether_it_is_the_same_dataset(listing, tmp_path):
    said = [
        dataclasses.replace(listing.splits["train"], disagreements=np.array([[1, 1, *who]])) for who in ([1, 2], [2, 1])
    ]
    first, other = (dataclasses.replace(listing, splits={**listing.splits, "train": split}) for split in said)
    writer.write("votes", first, tmp_path, jobs=1)
    assert prepared.disagreements(prepared.folder_of("votes", tmp_path), "train", (4, 2)).tolist() == [[1, 1, 1, 2]]
    assert writer.write("votes", first, tmp_path, jobs=1).was_there
    with pytest.raises(UserError, match="holds another dataset"):
        writer.write("votes", other, tmp_path, jobs=1)
