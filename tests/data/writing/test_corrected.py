"""A corrected dataset: images untouched, labels changed in every place that has them, the changes on record."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from ltpml_jax.data import datasets, prepared
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.writing import corrected, writer
from ltpml_jax.errors import UserError
from tests.helpers import evidences

NAMES = ("cat", "a dog", "fox, red")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return evidences.dataset(tmp_path_factory.mktemp("corrected"), names=NAMES)


def file(folder: Path, text: str = 'a.png,cat,0,1,no cat\ndir/b.png,"fox, red",?,0,\n') -> str:
    (folder / "corrections.csv").write_text("id,class,state,was,note\n" + text)
    return str(folder / "corrections.csv")


def test_states_change_and_records_stay(data, tmp_path):
    written = corrected.write("two", "mine", file(tmp_path), data)
    before, after = (datasets.load(name, str(data)) for name in ("mine", "two"))
    expected = np.array(before.train.labels)
    expected[0, 0], expected[1, 2] = 0, 2
    np.testing.assert_array_equal(after.train.labels, expected)
    np.testing.assert_array_equal(after.test.labels, before.test.labels)
    for row in range(4):
        old, new = before.train.records[row], after.train.records[row]
        assert (old["image"], old["id"], old["index"]) == (new["image"], new["id"], new["index"])
        np.testing.assert_array_equal(new["labels"], expected[row])
    folders = [prepared.folder_of(name, data) for name in ("mine", "two")]
    old_test, new_test = (prepared.shards(folder, "test")[0].read_bytes() for folder in folders)
    assert old_test == new_test
    assert written.metadata["arguments"]["from"] == "mine" and not written.was_there
    found = json.loads((folders[1] / "lt_pml.json").read_text())["corrections"]
    assert found["sha256"] == hashlib.sha256(Path(file(tmp_path)).read_bytes()).hexdigest() and found["from"] == "mine"
    assert found["changes"] == [
        {"split": "train", "id": "a.png", "class": "cat", "was": "positive", "state": "negative", "note": "no cat"},
        {"split": "train", "id": "dir/b.png", "class": "fox, red", "was": "negative", "state": "candidate", "note": ""},
    ]
    assert np.load(folders[1] / "cooccurrence.npy")[0, 0] == (expected[:, 0] == 1).sum()
    assert not (folders[1].parent / "incomplete").exists()


def test_a_disputed_label_is_disputed_until_it_is_decided(data, tmp_path):
    for name, text, left in (
        ("other", "a.png,cat,0,1,\n", evidences.DISAGREEMENTS.tolist()),
        ("decided", "dir/b.png,cat,1,?,\n", []),
    ):
        corrected.write(name, "mine", file(tmp_path, text), data)
        folder = prepared.folder_of(name, data)
        assert prepared.disagreements(folder, "train", (4, 3)).tolist() == left
        assert (folder / "disagreements-train.npy").exists() == bool(left)


def test_tfds_reads_what_was_corrected(data, tmp_path):
    corrected.write("read", "mine", file(tmp_path), data)
    source = tfds.builder_from_directory(str(prepared.folder_of("read", data))).as_data_source("train")
    assert len(source) == 4
    assert list(source[1]["candidates"]) == [0, 1, 2] and list(source[0]["labels"]) == []
    assert source[0]["id"] == b"a.png"


def test_twice_is_once(data, tmp_path):
    once = corrected.write("once", "mine", file(tmp_path), data)
    twice = corrected.write("twice", "once", file(tmp_path), data)
    one, two = (datasets.load(name, str(data)).train.labels for name in ("once", "twice"))
    np.testing.assert_array_equal(one, two)
    assert twice.metadata["corrections"]["changes"] == [] and twice.metadata["corrections"]["already"] == 2
    assert once.metadata["notes"] == ["2 labels of mine corrected by corrections.csv"]
    assert "2 changed nothing, as the label was so already" in twice.metadata["notes"][0]
    again = corrected.write("once", "mine", file(tmp_path), data)
    assert again.was_there and again.metadata["plan"] == once.metadata["plan"]


def test_refusals_leave_everything_as_it_was(data, tmp_path):
    before = sorted(data.rglob("*"))
    with pytest.raises(UserError, match="line 4 of .* is unknown in mine, not negative; correct the dataset"):
        corrected.write("wrong", "mine", file(tmp_path, "a.png,cat,1,1,\na.png,cat,1,0,\nd.png,cat,1,0,\n"), data)
    with pytest.raises(UserError, match="--dataset and --from are both 'mine'"):
        corrected.write("mine", "mine", file(tmp_path), data)
    with pytest.raises(UserError, match="There is no dataset 'mien'"):
        corrected.write("wrong", "mien", file(tmp_path), data)
    assert sorted(data.rglob("*")) == before
    corrected.write("taken", "mine", file(tmp_path), data)
    with pytest.raises(UserError, match="holds another dataset"):
        corrected.write("taken", "mine", file(tmp_path, "a.png,cat,?,1,\n"), data)
    assert datasets.load("taken", str(data)).train.labels[0, 0] == 0
    corrected.write("taken", "mine", file(tmp_path, "a.png,cat,?,1,\n"), data, overwrite=True)
    assert datasets.load("taken", str(data)).train.labels[0, 0] == 2


def test_another_source_makes_another_dataset(tmp_path):
    data = evidences.dataset(tmp_path, names=NAMES)
    corrected.write("two", "mine", file(tmp_path), data)
    listing = Listing(NAMES, {"train": one_image(tmp_path, 10), "test": one_image(tmp_path, 20)})
    writer.write("mine", listing, data, jobs=1, overwrite=True)
    again = file(tmp_path, "a.png,cat,0,1,\n")
    with pytest.raises(UserError, match="holds another dataset"):
        corrected.write("two", "mine", again, data)
    assert not corrected.write("three", "mine", again, data).was_there
    listing = replace(listing, splits={**listing.splits, "test": one_image(tmp_path, 30)})
    writer.write("mine", listing, data, jobs=1, overwrite=True)
    with pytest.raises(UserError, match="holds another dataset"):  # the same labels, other images
        corrected.write("three", "mine", again, data)


def one_image(folder: Path, side: int) -> ListedSplit:
    path = folder / f"{side}.png"
    assert cv2.imwrite(str(path), np.zeros((side, side, 3), np.uint8))
    return ListedSplit(["a.png"], [str(path)], np.array([[1, 0, 0]], np.int8))
