"""lt_pml.json of a prepared dataset, by hand."""

import json

import numpy as np

from ltpml_jax.data import prepared
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.writing import writer
from tests.helpers import trees

NAMES = ("dog", "traffic light", "tv_monitor")


def test_the_metadata_is_worked_out_by_hand(tmp_path):
    trees.plant(tmp_path, [f"{number}.jpg" for number in range(4)], 1, ((40, 30),))
    states = np.array([[1, 1, 0], [1, 2, 2], [0, 0, 0], [1, 1, 3]], np.int8)
    paths = [str(tmp_path / f"{number}.jpg") for number in range(4)]
    split = ListedSplit(["a", "b", "c", "d"], paths, states)
    metadata = writer.write("mine", Listing(NAMES, {"train": split, "test": split}), tmp_path / "out", jobs=1).metadata
    assert metadata["splits"]["train"] == {
        "images": 4,
        "class_counts": [3.0, 2.5, 0.5],
        "labels": 5,
        "cardinality": 1.25,
        "without_label": 1,
        "candidates": 2,
        "unknown": 1,
    }
    assert metadata["pairs"] == [["dog", "traffic light", 2]] and metadata["groups"]["tail"] == [0, 1, 2]
    folder = prepared.folder_of("mine", tmp_path / "out")
    np.testing.assert_array_equal(np.load(folder / "cooccurrence.npy"), [[3, 2, 0], [2, 2, 0], [0, 0, 0]])
    assert json.loads((folder / "lt_pml.json").read_text()) == metadata
