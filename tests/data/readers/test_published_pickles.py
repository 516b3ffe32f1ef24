"""The published pickles, where hostile: refused at once, in one sentence with one remedy."""

import pickle

import numpy as np
import pytest
from etils import epath

from ltpml_jax.data.readers import published_pickles
from ltpml_jax.errors import UserError
from tests.helpers.pickles import attack

NAMES, COUNTS = ("a", "b", "c"), np.array([1.0, 1.0, 1.0])
GROUPS = ("head", "middle", "tail")


def refused(folder, name: str, content: object, needed: bool) -> str:
    path = epath.Path(folder) / name
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, 2))
    with pytest.raises(UserError) as caught:
        published_pickles.compare([path], NAMES, COUNTS, needed)
    message = str(caught.value)
    assert message.startswith(str(path)) and message.lower().count("copy it again") == 1 and message.count(". ") == 0
    assert message.endswith("." if needed else "; copy it again or delete it: it is only compared with the lists.")
    return message


@pytest.mark.parametrize("needed", [True, False])
def test_a_refusal_has_one_remedy(tmp_path, needed):
    canary = tmp_path / "canary"
    assert "system" in refused(tmp_path, "class_split.pkl", attack(canary), needed)
    assert not canary.exists()
    refused(tmp_path, "class_split.pkl", pickle.dumps({"head": {0}})[:-3], needed)
    refused(tmp_path, "class_split.pkl", {"head": {0}}, needed)


def test_enormous_sides_without_content_are_refused_before_they_are_walked(tmp_path):
    empty = np.empty((2**40, 0), np.int64)
    assert "array of no bytes" in refused(tmp_path, "class_split.pkl", dict.fromkeys(GROUPS, empty), False)
    assert "array of no bytes" in refused(tmp_path, "class_freq.pkl", {"class_freq": empty}, False)


@pytest.mark.parametrize(
    "members", [np.zeros((3, 1), int), np.empty((1000, 0)), [[0], [1], [2]], {0: 1}, "012", 5, [None, 1], [[0], [1, 2]]]
)
def test_members_that_are_no_list_of_classes_are_refused(tmp_path, members):
    groups = {"head": members, "middle": [], "tail": []}
    assert "does not put each of 3 classes" in refused(tmp_path, "class_split.pkl", groups, True)


@pytest.mark.parametrize("kind", [set, frozenset, list, tuple, np.array])
def test_members_may_be_of_any_kind_of_collection(tmp_path, kind):
    path = epath.Path(tmp_path) / "class_split.pkl"
    path.write_bytes(pickle.dumps({"head": kind([0]), "middle": kind([]), "tail": kind([2, 1])}, 2))
    groups, notes = published_pickles.compare([path], NAMES, COUNTS, needed=True)
    assert groups is not None and notes == []
    assert {group: mask.tolist() for group, mask in groups.items()} == {
        "head": [True, False, False],
        "medium": [False, False, False],
        "tail": [False, True, True],
    }
