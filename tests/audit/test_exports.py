"""Every export keeps four states, and is read back by the readers that there are."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from ltpml_jax.audit import audited, belief, entries, exports
from ltpml_jax.audit.exports import Audit
from ltpml_jax.data.readers import coco, tables
from ltpml_jax.errors import UserError
from tests.helpers import evidences

NAMES = ("zebra", "apple tree", "<b>", 'quo"te', "\u05e9\u05dc\u05d5\u05dd", "fox, red")
STATES = evidences.STATES
WORDS = ["negative", "positive", "candidate", "unknown"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Audit]:
    folder = tmp_path_factory.mktemp("exports")
    found = evidences.evidence(evidences.dataset(folder, names=NAMES), names=NAMES)
    believed = belief.FORMS["score"](found)
    listed = entries.listed_entries(found, believed, 500, 20)
    audit = Audit(folder / "audit", found, believed, listed, [], entries.summary(found, believed, "score", listed))
    audit.home.mkdir()
    return audit.home, audited.write(audit, audit.home, True, ["html", *exports.EXPORTS])


def test_images_are_the_bytes_as_prepared(made):
    home, audit = made
    for picture in audit.pictures:
        assert (home / picture.path).read_bytes() == audit.evidence.records[picture.row]["image"]
    assert [(one.width, one.height) for one in audit.pictures] == [(20, 12), (20, 13), (20, 14), (20, 15)]


def test_csv_is_read_by_prepare(made):
    home, audit = made
    listing = tables.read_table(str(home / "labels.csv"), str(home))
    assert listing.class_names == NAMES
    np.testing.assert_array_equal(listing.splits["train"].states, STATES)
    assert listing.splits["train"].ids == [one.id for one in audit.pictures]
    assert all(Path(path).exists() for path in listing.splits["train"].paths)


def test_coco_is_read_by_prepare(made):
    home, _ = made
    listing = coco.read_coco({"train": str(home / "labels.coco.json")}, str(home))
    assert listing.class_names == NAMES
    np.testing.assert_array_equal(listing.splits["train"].states, STATES)
    content = json.loads((home / "labels.coco.json").read_text())
    assert len(content["annotations"]) == (STATES == 1).sum()
    assert [one["id"] for one in content["annotations"]] == list(range(1, len(content["annotations"]) + 1))
    assert content["annotations"][0]["bbox"] == [0, 0, 20, 12] and content["annotations"][0]["area"] == 240


def test_fiftyone_has_its_layout(made):
    home, _ = made
    labels, data = (json.loads((home / "fiftyone" / name).read_text()) for name in ("labels.json", "data.json"))
    assert labels["classes"] == list(NAMES) and labels["labels"].keys() == data.keys()
    assert all(Path(path).is_absolute() and Path(path).exists() for path in data.values())
    given = [[WORDS.index(one["attributes"]["given"]) for one in image] for image in labels["labels"].values()]
    np.testing.assert_array_equal(given, STATES)
    one = labels["labels"]["train-0000000"][0]
    assert one["label"] == "zebra" and one["confidence"] == pytest.approx(0.9)
    assert one["attributes"]["distrust"] == pytest.approx(0.1) and one["attributes"]["reason"] == "positive_unlikely"


def test_cleanlab_has_every_training_image(made):
    home, audit = made
    with np.load(home / "cleanlab.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["labels"], STATES)
        np.testing.assert_array_equal(found["pred_probs"], audit.belief)
        assert found["class_names"].tolist() == list(NAMES) and found["ids"][2] == '<i>"c"</i>.png'
        assert found["out_of_sample"].tolist() == [False, False, False, True]


def test_label_studio_has_tasks_and_choices(made):
    home, _ = made
    tasks = json.loads((home / "label_studio.json").read_text())
    given = [[WORDS.index(task["data"]["given"][name]) for name in NAMES] for task in tasks]
    np.testing.assert_array_equal(given, STATES)
    result = tasks[0]["predictions"][0]["result"][0]
    assert (result["from_name"], result["to_name"], result["type"]) == ("labels", "image", "choices")
    assert result["value"]["choices"] == list(NAMES) and tasks[3]["predictions"][0]["result"] == []
    assert tasks[0]["predictions"][0]["score"] == pytest.approx(0.9 - 0.8 / 23, abs=1e-5)  # zebra's neighbour, absent
    tree = ET.parse(home / "label_studio.xml").getroot()
    choices = tree.find("Choices")
    assert choices is not None and [one.get("value") for one in choices] == list(NAMES)
    assert choices.get("choice") == "multiple" and tree.find("Image").get("value") == "$image"  # pyright: ignore


def test_a_class_that_csv_cannot_name_is_refused():
    exports.check_names(("cat",))
    with pytest.raises(UserError, match="A class is called 'labels'.*leave csv out of --exports"):
        exports.check_names(("cat", "labels"))
