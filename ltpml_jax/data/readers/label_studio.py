"""Own labels from an export of Label Studio: JSON with annotations, or JSON_MIN.

A task is an image with choices. A choice that was made is a positive; what was not chosen is what the caller says,
negative or unknown, for an export does not tell whether an annotator saw the other choices. A class is a candidate
where annotators of one task disagree; of one annotator the last annotation counts, and annotations that name none are
of as many. JSON_MIN has a record for each annotation: those of one image are one task. In it other fields of a task lie
beside the choices: those with a list of `choices` are the labels, or else the one field of text. Tasks without an
annotation (cancelled ones count not) are left out, with a note.

`data.image` is the image: below the folder of images, absolute, or as Label Studio serves local files
(`/data/local-files/?d=PATH`) and uploads (`/data/upload/1/NAME`: NAME below the folder of images). `data.id` is its id
where there is one, else the path.
"""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.readers import annotators, common
from ltpml_jax.errors import UserError

FLAG = "--label_studio"


def read_export(path: str, images: str, unlisted: str | None) -> Listing:
    """The images and labels of an export; relative image paths lie below `images`.

    unlisted: "negative" or "unknown", the state of what was not chosen.

    Raises UserError where the file is no such export, a task has no image, or `unlisted` is missing.
    """
    if unlisted is None:
        raise UserError(
            f"{path} says what was chosen; choose what the rest means: --unlisted=negative (annotators went through "
            "all classes) or --unlisted=unknown."
        )
    tasks = _tasks(path)
    fields, notes = _fields(path, tasks)
    done, left_out = _annotated(path, tasks, fields)
    if not done:
        raise UserError(f"No task in {path} has an annotation; export the project after some are submitted.")
    class_names = tuple(sorted({name for _, _, chosen in done for names in chosen for name in names}))
    numbers = {name: j for j, name in enumerate(class_names)}
    rows, judged, places, ids = [], [], [], []
    for row, (number, task, chosen) in enumerate(done):
        place = _image(path, number, task)
        places.append(place)
        ids.append(str(task["data"].get("id", place)) if isinstance(task.get("data"), dict) else place)
        for names in chosen:
            states = np.full(len(class_names), common.unlisted_state(unlisted), np.int8)
            states[[numbers[name] for name in names]] = LabelState.POSITIVE
            rows.append(row)
            judged.append(states)
    numbered = [f"Task {number} of {path}" for number, _, _ in done]
    paths = common.image_paths(images, places, numbered.__getitem__)
    judgements = np.array(rows), np.stack(judged)
    splits = {"train": ListedSplit(ids, paths, annotators.merge(*judgements), annotators.disagreements(*judgements))}
    notes += [f"{left_out} tasks have no annotation and are left out."] if left_out else []
    return common.checked(Listing(class_names, splits, notes=notes), path)


def _tasks(path: str) -> list[dict[str, Any]]:
    try:
        content = json.loads(common.read_bytes(path, FLAG))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no json file ({error}); {FLAG} names an export as JSON or JSON_MIN.") from error
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        raise UserError(f"{path} is no list of tasks; {FLAG} names an export as JSON or JSON_MIN.")
    return content


def _fields(path: str, tasks: list[dict[str, Any]]) -> tuple[set[str], list[str]]:
    """Which fields of JSON_MIN are the choices (none of another export), and notes: on that, and on what is not read.

    Raises UserError where several fields of text could be.
    """
    given = [item for task in tasks if "annotations" not in task for item in task.items() if item[0] not in _BESIDE]
    lists = {key for key, value in given if _is_list(value)}
    texts = {key for key, value in given if isinstance(value, str)} - lists
    if not lists and len(texts) > 1:
        several = ", ".join(map(repr, sorted(texts)))
        raise UserError(f"{path} does not say which of {several} is the choice; export the project as JSON.")
    found, others = (lists, texts) if lists else (texts, set())
    note = f"Labels are the choices in {', '.join(map(repr, sorted(found)))}"
    note += f"; what is in {', '.join(map(repr, sorted(others)))} is not read." if others else "."
    return found, ([note] if found else []) + _made(path, tasks)


def _made(path: str, tasks: list[dict[str, Any]]) -> list[str]:
    """Notes on what annotators made that are no choices, and on choices of several blocks of a project's form.

    Raises UserError where two blocks have a choice of one name, as "yes": as a class it would mean either.
    """
    made = [one for task in tasks if isinstance(given := task.get("annotations"), list) for one in given]
    results = [one.get("result") for one in made if isinstance(one, dict)]
    items = [item for result in results if isinstance(result, list) for item in result if isinstance(item, dict)]
    kinds = sorted({str(item.get("type")) for item in items} - {"choices"})
    notes = [f"Only choices are read; the annotators also made {', '.join(kinds)}."] if kinds else []
    blocks: dict[str, set[str]] = {}
    for item in items:
        for name in _names([item]) if item.get("type") == "choices" and _is_list(item.get("value")) else []:
            blocks.setdefault(name, set()).add(str(item.get("from_name")))
    twice = next((name for name, several in sorted(blocks.items()) if len(several) > 1), None)
    if twice is not None:
        both = " and ".join(map(repr, sorted(blocks[twice])[:2]))
        raise UserError(
            f"{path} has the choice {twice!r} in {both}; call it otherwise in one, as each is to be a class."
        )
    names = sorted(set().union(*blocks.values()))
    return notes + ([f"Choices of {', '.join(names)} are classes side by side."] if len(names) > 1 else [])


def _annotated(
    path: str, tasks: list[dict[str, Any]], fields: set[str]
) -> tuple[list[tuple[int, dict[str, Any], list[list[str]]]], int]:
    """Tasks with an annotation, each with its number and what every annotator chose; and how many have none."""
    found: dict[Any, tuple[int, dict[str, Any], dict[Any, list[str]]]] = {}
    left_out = 0
    for number, task in enumerate(tasks):
        chosen = _chosen(path, number, task, fields)
        if not chosen:
            left_out += 1
            continue
        key = number if "annotations" in task else _image(path, number, task)
        judgements = found.setdefault(key, (number, task, {}))[2]
        judgements.update({(number, place) if who is None else who: names for place, (who, names) in enumerate(chosen)})
    return [(number, task, list(judgements.values())) for number, task, judgements in found.values()], left_out


def _chosen(path: str, number: int, task: dict[str, Any], fields: set[str]) -> list[tuple[str | None, list[str]]]:
    try:
        return choices(task, fields)
    except (TypeError, AttributeError):
        raise UserError(f"Task {number} of {path} has annotations of another form; export the project again.") from None


def choices(task: dict[str, Any], fields: set[str]) -> list[tuple[str | None, list[str]]]:
    """Who made each annotation of a task (None where it does not say), and the classes chosen; [] where there is none.

    fields: which of JSON_MIN are choices.

    An annotation that chose nothing is one; JSON_MIN leaves its field out, and is then taken for no annotation.
    Raises TypeError or AttributeError where the task is not of Label Studio's form.
    """
    if "annotations" in task:
        done = [one for one in task["annotations"] if isinstance(one, dict) and not one.get("was_cancelled")]
        results = [[item for item in one.get("result", []) if item.get("type") == "choices"] for one in done]
        return [(_who(one.get("completed_by")), _names(items)) for one, items in zip(done, results, strict=True)]
    found = [value for key, value in task.items() if key in fields and (isinstance(value, str) or _is_list(value))]
    return [(_who(task.get("annotator")), _names([{"value": value} for value in found]))] if found else []


def _who(annotator: Any) -> str | None:
    """A name for an annotator: a number, an address, or an object with one of them."""
    if isinstance(annotator, dict):
        annotator = annotator.get("id", annotator.get("email"))
    return str(annotator) if isinstance(annotator, int | str) else None


# What JSON_MIN has beside the choices.
_BESIDE = ("id", "image", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "data", "predictions")


def _is_list(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("choices"), list)


def _names(items: list[dict[str, Any]]) -> list[str]:
    found = []
    for item in items:
        value = item.get("value")
        names = value.get("choices", []) if isinstance(value, dict) else [value]
        found += [common.class_name(name) for name in names if isinstance(name, str)]
    return sorted(set(found) - {""})


def _image(path: str, number: int, task: dict[str, Any]) -> str:
    data = task.get("data") if isinstance(task.get("data"), dict) else task
    image = data.get("image") if isinstance(data, dict) else None
    if not isinstance(image, str) or not image:
        raise UserError(f"Task {number} of {path} has no 'image' in its data; export a project of images.")
    if image.startswith("/data/upload/"):
        return image.rpartition("/")[2]
    if "/local-files/" not in image:
        return image
    try:
        return parse_qs(urlsplit(image).query).get("d", [image])[0]
    except ValueError as error:
        raise UserError(f"Task {number} of {path} names the image {image!r} ({error}); correct it.") from None
