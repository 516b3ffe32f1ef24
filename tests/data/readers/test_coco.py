"""Own labels in COCO's and LVIS's json: what a file says, what it leaves open, and the sentence for each mistake."""

import json
import pathlib

import numpy as np
import pytest

from ltpml_jax.data.listing import Listing
from ltpml_jax.data.readers import coco
from ltpml_jax.errors import UserError

NO, YES, MAYBE, UNKNOWN = 0, 1, 2, 3
CATEGORIES = [{"id": 90, "name": "tooth brush"}, {"id": 3, "name": "ant"}, {"id": 17, "name": "bee"}]


def _instances() -> dict:
    """Three images, of which one has no annotation and one a crowd; ids are not contiguous."""
    return {
        "images": [{"id": 40, "file_name": "d.jpg"}, {"id": 7, "file_name": "a.jpg"}, {"id": 9, "file_name": "b.png"}],
        "categories": CATEGORIES,
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 17, "bbox": [0, 0, 1, 1], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 17, "iscrowd": 0},
            {"id": 3, "image_id": 40, "category_id": 90, "iscrowd": 1},
            {"id": 4, "image_id": 40, "category_id": 3},
        ],
    }


def _write(file: pathlib.Path, content: object) -> str:
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(file)


def _read(folder: pathlib.Path, content: object, unlisted: str | None = None) -> Listing:
    return coco.read_coco({"train": _write(folder / "labels.json", content)}, "/photos", unlisted)


def test_instances_become_labels_and_images_without_any_are_kept(tmp_path):
    listing = _read(tmp_path, _instances())
    train = listing.splits["train"]
    assert listing.class_names == ("tooth brush", "ant", "bee")
    assert train.ids == ["40", "7", "9"] and train.paths == ["/photos/d.jpg", "/photos/a.jpg", "/photos/b.png"]
    assert train.states.dtype == np.int8
    assert train.states.tolist() == [[YES, YES, NO], [NO, NO, YES], [NO, NO, NO]]
    assert listing.notes[0].endswith("labels.json: a class that it does not list counts as negative.")


def test_what_is_not_annotated_can_be_called_unknown(tmp_path):
    states = _read(tmp_path, _instances(), "unknown").splits["train"].states
    assert states.tolist() == [[YES, YES, UNKNOWN], [UNKNOWN, UNKNOWN, YES], [UNKNOWN] * 3]


def test_images_can_carry_lists_of_categories_in_four_states(tmp_path):
    images = [
        {"id": "x", "file_name": "x.jpg", "category_ids": [3], "candidate_category_ids": [90, 17]},
        {"id": "y", "file_name": "y.jpg", "category_ids": [], "unknown_category_ids": [17]},
    ]
    listing = _read(tmp_path, {"images": images, "categories": CATEGORIES})
    assert listing.splits["train"].states.tolist() == [[MAYBE, YES, MAYBE], [NO, NO, UNKNOWN]]


def test_lvis_images_were_searched_for_some_classes_only(tmp_path):
    content = _instances()
    for image, absent, partly in zip(content["images"], ([17], [], [3]), ([3], [17], []), strict=True):
        image.update(neg_category_ids=absent, not_exhaustive_category_ids=partly)
        image["coco_url"] = f"http://images.cocodataset.org/train2017/{image.pop('file_name')}"
    listing = _read(tmp_path, content)
    assert listing.splits["train"].states.tolist() == [[YES, YES, NO], [UNKNOWN, UNKNOWN, YES], [UNKNOWN, NO, UNKNOWN]]
    assert listing.splits["train"].paths[0] == "/photos/train2017/d.jpg"
    assert "unknown" in listing.notes[0]


def test_a_class_that_one_file_does_not_have_is_unknown_there(tmp_path):
    other = {
        "images": [{"id": 40, "file_name": "e.jpg"}],
        "categories": [{"id": 1, "name": "cow"}, {"id": 2, "name": "ant"}],
        "annotations": [{"image_id": 40, "category_id": 2}],
    }
    files = {"train": _write(tmp_path / "a.json", _instances()), "test": _write(tmp_path / "b.json", other)}
    listing = coco.read_coco(files, "")
    assert listing.class_names == ("tooth brush", "ant", "bee", "cow")
    assert listing.splits["train"].states[1].tolist() == [NO, NO, YES, UNKNOWN]
    assert listing.splits["test"].states.tolist() == [[UNKNOWN, YES, UNKNOWN, NO]]


@pytest.mark.parametrize("folder", ["", "train2017", "train"])
def test_images_lie_in_the_folder_or_in_that_of_their_file_or_split(tmp_path, folder):
    (tmp_path / "images" / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / "images" / folder / "d.jpg").touch()
    file = _write(tmp_path / "instances_train2017.json", _instances())
    paths = coco.read_coco({"train": file}, str(tmp_path / "images")).splits["train"].paths
    assert paths == [str(tmp_path / "images" / folder / name) for name in ("d.jpg", "a.jpg", "b.png")]


def _changed(**changes: object) -> dict:
    return {key: value for key, value in {**_instances(), **changes}.items() if value is not None}


def _image(**fields: object) -> dict:
    return _changed(images=[{"id": 7, "file_name": "a.jpg", **fields}, {"id": 40, "file_name": "d.jpg"}])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is no json file"),
        ("[" * 100_000, "is no json file"),
        ("[]", "holds no json object"),
        ("{}", "no list 'images' of json objects"),
        (_changed(categories=None), "no list 'categories'"),
        (_changed(images=[], annotations=[]), "neither annotations nor images with category_ids"),
        (_changed(annotations=None), "neither annotations nor images with category_ids"),
        (_changed(annotations=3), "no list 'annotations'"),
        (_changed(categories=[{"id": 1, "name": 5}]), "The name of category 1 of .* is 5; write it as a string"),
        (_changed(categories=[{"id": 1, "name": " "}]), "The name of category 1"),
        (_changed(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]), "id 1 occurs twice among the cat"),
        (_changed(categories=[{"id": 1, "name": "a"}, {"id": 2, "name": "a "}]), "two categories 'a'"),
        (_changed(images=[{"file_name": "a.jpg"}]), "Entry 0 of 'images' in .* has no number or string as id"),
        (_changed(images=[{"id": 1, "file_name": "a.jpg"}] * 2), "id 1 occurs twice among the images"),
        (_changed(annotations=[{"id": 5, "image_id": 8, "category_id": 3}]), "Annotation 5 of .* image_id 8, which"),
        (_changed(annotations=[{"image_id": 7, "category_id": [3]}]), r"Annotation 0 of .* category_id \[3\], which"),
        (_changed(annotations=[{"id": 5, "image_id": 7, "caption": "an ant"}]), "Annotation 5 .* category_id None"),
        (_image(file_name="d.jpg"), "lists the image /photos/d.jpg twice"),
        (_image(file_name="http://x.org/a.jpg"), "image 7 of .* is about http://x.org/a.jpg, which is an address"),
        (_image(file_name="a\0.jpg"), r"image 7 of .*: 'a\\x00.jpg' holds a NUL character"),
        (_image(file_name="\ud800.jpg"), r"image 7 of .*: '\\ud800.jpg' holds half of a character"),
        (
            _image(id="\ud800") | {"annotations": [{"image_id": "\ud800", "category_id": 3}]},
            r"the id '\\ud800', which holds half of a character",
        ),
        (_changed(categories=[*CATEGORIES, {"id": 4, "name": "\ud800"}]), r"the class '\\ud800', which holds half"),
        (_image(file_name=None), "The file_name of image 7"),
        (_image(category_ids=[4]), "The category_ids of image 7"),
        (_image(neg_category_ids=3), "The neg_category_ids of image 7"),
        (_image(neg_category_ids=[17, 90]), "'bee' is positive and negative in image 7"),
    ],
)
def test_mistakes_are_named(tmp_path, content, sentence):
    with pytest.raises(UserError, match=sentence):
        _read(tmp_path, content)


def test_wrong_splits_and_missing_files_are_named(tmp_path):
    file = _write(tmp_path / "a.json", _instances())
    with pytest.raises(UserError, match="split 'val'; did you mean 'validation'"):
        coco.read_coco({"train": file, "val": file}, "")
    with pytest.raises(UserError, match="lists the image a.jpg twice|lists the image d.jpg twice"):
        coco.read_coco({"train": file, "test": file}, "")
    with pytest.raises(UserError, match="lists no image to train on"):
        coco.read_coco({"test": file}, "")
    with pytest.raises(UserError, match="Cannot read .*none.json"):
        coco.read_coco({"train": str(tmp_path / "none.json")}, "")
