"""Own labels from json files in the manner of COCO and LVIS: one file a split.

An image has a class if an annotation (crowds included) says so; classes are in the order of `categories`. An image of
the file may also carry lists of category ids itself: `category_ids` (present), `candidate_category_ids`,
`neg_category_ids` (absent), `unknown_category_ids`. Its other classes are absent, as COCO annotates every object of its
categories; but unknown in a file with LVIS's `neg_category_ids` or `not_exhaustive_category_ids`, whose images were
only searched for some classes. A class that the categories of a file lack is unknown for all its images.
"""

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from etils import epath

from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.readers import common
from ltpml_jax.errors import UserError, nearest

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
        UserError: there is no file name; `where` names the image.
    """
    if "file_name" not in image and isinstance(image.get("coco_url"), str):
        return "/".join(image["coco_url"].rsplit("/", 2)[-2:])
    return _text(image, "file_name", where)


_SEARCHED_FOR_SOME = ("neg_category_ids", "not_exhaustive_category_ids")


def read_coco(files: Mapping[str, str], images: str, unlisted: str | None = None) -> Listing:
    """The images and labels of json files by split ("train", "validation", "test").

    A file name is searched below `images`, below its folder named like the end of the json file
    (instances_train2017.json: train2017) and below its folder named like the split; where the first image lies decides.
    `unlisted`, "negative" or "unknown", replaces the module's rule for classes that are not listed.

    Raises:
        UserError: a file cannot be read or is no such json, or an id in it is missing, double or unknown.
    """
    for split in files:
        if split not in common.SPLITS:
            raise UserError(f"--coco names the split {split!r}; did you mean {nearest(split, common.SPLITS)!r}?")
    opened = {split: open_file(path) for split, path in files.items()}
    class_names = tuple(dict.fromkeys(name for file in opened.values() for name in file.classes.values()))
    splits, notes = {}, []
    for split, file in opened.items():
        state = _rest(file, unlisted)
        notes.append(f"{file.path}: a class that it does not list counts as {state.name.lower()}.")
        paths = _paths(file, images, split)
        splits[split] = ListedSplit([str(key) for key in file.images], paths, _states(file, class_names, state))
    return common.checked(Listing(class_names, splits, notes=notes), ", ".join(files.values()))


def _paths(file: CocoFile, images: str, split: str) -> list[str]:
    places = [f"image {key!r} of {file.path}" for key in file.images]
    names = [file_name(image, place) for image, place in zip(file.images.values(), places, strict=True)]
    named = epath.Path(file.path).stem.rsplit("_", 1)[-1]
    folders = [images, *(posixpath.join(images, folder) for folder in (named, split))]

    def below(folder: str, names: list[str]) -> list[str]:
        return common.image_paths(folder, names, places.__getitem__)

    there = (folder for folder in folders if any(epath.Path(path).exists() for path in below(folder, names[:1])))
    folder = next(there, images)  # if it is nowhere, the writer reports it missing from `images`
    return below(folder, names)


def _rest(file: CocoFile, unlisted: str | None) -> LabelState:
    """The state of classes that the file does not list."""
    if unlisted is not None:
        return common.unlisted_state(unlisted)
    some = any(key in image for image in file.images.values() for key in _SEARCHED_FOR_SOME)
    return LabelState.UNKNOWN if some else LabelState.NEGATIVE


def _states(file: CocoFile, class_names: tuple[str, ...], rest: LabelState) -> np.ndarray:
    """Labels int8 [N, C] of the file's images in order."""
    states = np.full((len(file.images), len(class_names)), common.NOT_STATED, np.int8)
    rows = {key: row for row, key in enumerate(file.images)}
    numbers = {name: number for number, name in enumerate(class_names)}
    classes = {key: numbers[name] for key, name in file.classes.items()}
    _mark(states, file, _annotated(file, rows, classes), LabelState.POSITIVE, class_names)
    for key, state in BY_IMAGE.items():
        _mark(states, file, _listed(file, key, classes), state, class_names)
    searched = np.isin(np.arange(len(class_names)), list(classes.values()))
    return np.where(states == common.NOT_STATED, np.where(searched, rest, LabelState.UNKNOWN), states).astype(np.int8)


_Entries = list[tuple[int, int]]  # row and class


def _annotated(file: CocoFile, rows: Mapping[Id, int], classes: Mapping[Id, int]) -> _Entries:
    entries = []
    for number, item in enumerate(file.annotations):
        name = f"Annotation {item.get('id', number)} of {file.path}"
        entries.append((_resolve(rows, item, "image_id", name), _resolve(classes, item, "category_id", name)))
    return entries


def _resolve(known: Mapping[Id, int], item: dict, key: str, name: str) -> int:
    value: Any = item.get(key)
    if not isinstance(value, Id) or value not in known:
        raise UserError(f"{name} has the {key} {value!r}, which the file does not list; add or correct it.")
    return known[value]


def _listed(file: CocoFile, key: str, classes: Mapping[Id, int]) -> _Entries:
    entries = []
    for row, (image_id, image) in enumerate(file.images.items()):
        listed = image.get(key, [])
        if not isinstance(listed, list) or not all(isinstance(one, Id) and one in classes for one in listed):
            raise UserError(f"The {key} of image {image_id} in {file.path} are {listed!r}; list ids of its categories.")
        entries += [(row, classes[one]) for one in listed]
    return entries


def _mark(
    states: np.ndarray, file: CocoFile, entries: _Entries, state: LabelState, class_names: tuple[str, ...]
) -> None:
    rows, classes = np.array(entries, np.int64).reshape(-1, 2).T
    clash = common.mark(states, rows, classes, state)
    if clash is not None:
        row, number = entries[clash]
        both = f"{LabelState(int(states[row, number])).name.lower()} and {state.name.lower()}"
        raise UserError(
            f"{file.path} says that {class_names[number]!r} is {both} in image {list(file.images)[row]}; keep one."
        )
