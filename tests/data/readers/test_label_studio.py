"""Exports of Label Studio, as JSON and as JSON_MIN."""

import json
from pathlib import Path

import numpy as np
import pytest

from ltpml_jax.data.listing import Listing
from ltpml_jax.data.readers import label_studio
from ltpml_jax.errors import UserError

NO, YES, MAYBE, UNKNOWN = 0, 1, 2, 3


def annotation(*names: str, **more: object) -> dict:
    return {"result": [{"type": "choices", "value": {"choices": list(names)}}] if names else [], **more}


FULL = [
    {"data": {"image": "/data/local-files/?d=a%20b.jpg", "id": "A"}, "annotations": [annotation("dog", "cat")]},
    {"data": {"image": "c.jpg"}, "annotations": [annotation("dog"), annotation("cat", "dog")]},
    {"data": {"image": "/abs/d.jpg"}, "annotations": [annotation()]},
    {"data": {"image": "e.jpg"}, "annotations": [annotation("fox", was_cancelled=True)], "predictions": [{"score": 1}]},
]
SMALL = [
    {"image": "a.jpg", "id": 3, "labels": {"choices": ["dog", "cat"]}, "annotator": 1, "lead_time": 2.5},
    {"image": "b.jpg", "labels": "dog", "created_at": "2024"},
    {"image": "c.jpg", "created_at": "2024"},
]


def read(folder: Path, content: object, unlisted: str | None = "negative") -> Listing:
    (folder / "export.json").write_text(json.dumps(content))
    return label_studio.read_export(str(folder / "export.json"), "/photos", unlisted)


@pytest.mark.parametrize(("unlisted", "rest"), [("negative", NO), ("unknown", UNKNOWN)])
def test_annotations_become_states(tmp_path, unlisted, rest):
    listing = read(tmp_path, FULL, unlisted)
    assert listing.class_names == ("cat", "dog")
    found = listing.splits["train"]
    assert found.ids == ["A", "c.jpg", "/abs/d.jpg"]
    assert found.paths == ["/photos/a b.jpg", "/photos/c.jpg", "/abs/d.jpg"]
    disagree = MAYBE if rest == NO else YES  # who does not know does not disagree
    np.testing.assert_array_equal(found.states, [[YES, YES], [disagree, YES], [rest, rest]])
    assert found.disagreements.tolist() == ([[1, 0, 1, 1]] if rest == NO else [])
    assert listing.notes == ["1 tasks have no annotation and are left out."]


def test_of_one_annotator_the_last_annotation_counts(tmp_path):
    ann, bob = {"completed_by": 1}, {"completed_by": {"id": 2, "email": "b@x.org"}}
    said = [annotation("cat", **ann), annotation("dog", **ann), annotation("dog", **bob)]
    found = read(tmp_path, [{"data": {"image": "a.jpg"}, "annotations": said}, FULL[0]]).splits["train"]
    np.testing.assert_array_equal(found.states, [[NO, YES], [YES, YES]])
    assert not len(found.disagreements)


def test_records_of_one_image_in_the_small_form_are_its_annotators(tmp_path):
    said = ((1, "cat"), (2, "dog"), (2, "cat"))
    records = [{"image": "a.jpg", "labels": label, "annotator": who} for who, label in said]
    found = read(tmp_path, [*records[:2], SMALL[1], {**records[0], "annotator": 3}]).splits["train"]
    assert found.paths == ["/photos/a.jpg", "/photos/b.jpg"]
    np.testing.assert_array_equal(found.states, [[MAYBE, MAYBE], [NO, YES]])
    assert found.disagreements.tolist() == [[0, 0, 2, 1], [0, 1, 1, 2]]
    again = read(tmp_path, [*records, SMALL[1]]).splits["train"]
    np.testing.assert_array_equal(again.states, [[YES, NO], [NO, YES]])


def test_other_texts_of_the_small_form_are_no_labels(tmp_path):
    listing = read(tmp_path, [{**task, "comment": "blurred", "patient": "p-17"} for task in SMALL])
    assert listing.class_names == ("cat", "dog")
    note = "Labels are the choices in 'labels'; what is in 'comment', 'patient' is not read."
    assert note in listing.notes
    single = [{"image": f"{name}.jpg", "animal": name} for name in ("cat", "dog")]
    assert read(tmp_path, single).class_names == ("cat", "dog")
    with pytest.raises(UserError, match="does not say which of 'animal', 'comment' is the choice; export .* as JSON"):
        read(tmp_path, [{**task, "comment": "blurred"} for task in single])


def test_uploaded_images_lie_in_the_folder_of_images(tmp_path):
    task = {"data": {"image": "/data/upload/1/8ce3-0.png"}, "annotations": [annotation("dog")]}
    assert read(tmp_path, [task]).splits["train"].paths == ["/photos/8ce3-0.png"]


def test_what_is_no_choice_is_named(tmp_path):
    box = {"type": "rectanglelabels", "value": {"rectanglelabels": ["cat"]}}
    task = {"data": {"image": "a.jpg"}, "annotations": [{"result": [box, *annotation("dog")["result"]]}]}
    assert read(tmp_path, [task]).notes == ["Only choices are read; the annotators also made rectanglelabels."]


def block(name: str, *choices: str) -> dict:
    return {"type": "choices", "from_name": name, "value": {"choices": list(choices)}}


def test_choices_of_several_blocks_are_classes_unless_two_have_one_name(tmp_path):
    made = [block("animal", "cat"), block("light", "dark")]
    task = {"data": {"image": "c.jpg"}, "annotations": [{"result": made}]}
    listing = read(tmp_path, [task])
    assert listing.class_names == ("cat", "dark") and "Choices of animal, light are classes" in listing.notes[0]
    made[:] = [block("cat", "yes"), block("dog", "yes"), block("cow", "no")]
    with pytest.raises(UserError, match="has the choice 'yes' in 'cat' and 'dog'; call it otherwise in one"):
        read(tmp_path, [task])


def test_the_small_form(tmp_path):
    listing = read(tmp_path, SMALL)
    np.testing.assert_array_equal(listing.splits["train"].states, [[YES, YES], [NO, YES]])
    assert listing.splits["train"].ids == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    "content,message",
    [
        ({}, "is no list of tasks"),
        ([{"image": "a.jpg", "annotations": 5}], "Task 0 of .* has annotations of another form"),
        (
            [*FULL, {"image": "f.jpg", "annotations": [{"result": None}]}],
            "Task 4 of .* has annotations of another form",
        ),
        (
            [{"image": "http://x.org/a.jpg", "labels": "cat"}],
            "Task 0 of .* is about http://x.org/a.jpg, which is an address",
        ),
        ([{"image": "a\0.jpg", "labels": "cat"}], "Task 0 of .* holds a NUL character"),
        ([{"image": "\ud800.jpg", "labels": "cat"}], "Task 0 of .* holds half of a character"),
        ([{"image": "http://[/data/local-files/?d=a", "labels": "cat"}], "Task 0 of .* names the image 'http://"),
        ([{"image": "a.jpg", "labels": "\ud800"}], "the class .* holds half of a character"),
        ([{"annotations": [annotation("cat")]}], "Task 0 of .* has no 'image' in its data"),
        ([FULL[3]], "No task in .* has an annotation"),
        ([{"data": {"image": "a.jpg"}, "annotations": [annotation()]}], "names no class"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, content)


def test_the_rest_is_never_silently_negative(tmp_path):
    with pytest.raises(UserError, match="choose what the rest means: --unlisted=negative"):
        read(tmp_path, FULL, None)
    (tmp_path / "torn.json").write_text("[{")
    with pytest.raises(UserError, match="is no json file"):
        label_studio.read_export(str(tmp_path / "torn.json"), "", "negative")
