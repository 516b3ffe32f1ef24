"""One json file in the manner of COCO, opened and checked: its images, categories and annotations."""

import json
from dataclasses import dataclass

from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.readers import common
from ltpml_jax.errors import UserError

# Lists of category ids that an image may carry.
BY_IMAGE = {
    "category_ids": LabelState.POSITIVE,
    "candidate_category_ids": LabelState.CANDIDATE,
    "neg_category_ids": LabelState.NEGATIVE,
    "unknown_category_ids": LabelState.UNKNOWN,
}
Id = int | str


@dataclass(frozen=True)
class CocoFile:
    """One json file: its images by id and its class names by category id, in its order, and its annotations."""

    path: str
    images: dict[Id, dict]
    classes: dict[Id, str]
    annotations: list[dict]


def open_file(path: str) -> CocoFile:
    """Opens a json file that --coco names.

    Raises:
        UserError: it cannot be read, is no such json or holds no labels, or an id or a name is missing or double.
    """
    try:
        content = json.loads(common.read_bytes(path, "--coco"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no json file ({error}); --coco names files in COCO's format.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no json object; --coco names files in COCO's format.")
    images = _by_id(_objects(path, content, "images"), path, "images")
    categories = _by_id(_objects(path, content, "categories"), path, "categories")
    classes = {
        key: common.class_name(_text(item, "name", f"category {key} of {path}")) for key, item in categories.items()
    }
    twice = common.first_twice(classes.values())
    if twice is not None:
        raise UserError(f"{path} has two categories {twice!r}; give them one id, or different names.")
    annotations = _objects(path, content, "annotations") if "annotations" in content else []
    if not annotations and not any(key in image for image in images.values() for key in BY_IMAGE):
        raise UserError(f"{path} has neither annotations nor images with category_ids; use a file with labels.")
    return CocoFile(path, images, classes, annotations)


def _objects(path: str, content: dict, key: str) -> list[dict]:
    items = content.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UserError(f"{path} has no list {key!r} of json objects; --coco names files in COCO's format.")
    return items


def _by_id(items: list[dict], path: str, what: str) -> dict[Id, dict]:
    for number, item in enumerate(items):
        if not isinstance(item.get("id"), Id):
            raise UserError(f"Entry {number} of {what!r} in {path} has no number or string as id; add one.")
    twice = common.first_twice(item["id"] for item in items)
    if twice is not None:
        raise UserError(f"The id {twice!r} occurs twice among the {what} of {path}; make ids unique.")
    return {item["id"]: item for item in items}


def _text(item: dict, key: str, where: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"The {key} of {where} is {value!r}; write it as a string.")
    return value


def file_name(image: dict, where: str) -> str:
    """The file of an entry of `images`; LVIS only has a URL of it, which ends in COCO's folder and the file.

    Raises:
        UserError: there is no file name; `where` says of which image.
    """
    if "file_name" not in image and isinstance(image.get("coco_url"), str):
        return "/".join(image["coco_url"].rsplit("/", 2)[-2:])
    return _text(image, "file_name", where)
