"""What lt_pml.json must be like before anything of it is used: fields, their kinds, and what goes with what."""

from pathlib import PurePosixPath
from typing import Any

from ltpml_jax.data.json_form import Fits, list_of, named, number, record, text, whole
from ltpml_jax.data.labels import GROUPS

_SPLITS = {"train", "validation", "test"}


def misfit(metadata: dict[str, Any]) -> str:
    """The first thing in the content of lt_pml.json that the writer would not have put there; "" where all is well.

    Fields that nothing reads may be missing or of any kind.
    """
    for name, fits in _FIELDS.items():
        if not fits(metadata.get(name)):
            return f"the field {name!r} is not as written"
    classes, splits = metadata["classes"], metadata["splits"]
    if sorted(member for group in GROUPS for member in metadata["groups"][group]) != list(range(len(classes))):
        return "the groups are not the classes, each once"
    if any(len(split["class_counts"]) != len(classes) for split in splits.values()):
        return "there are not as many counts as classes"
    if not {"train", "test"} <= splits.keys() <= _SPLITS:
        return f"the splits are {', '.join(map(repr, splits))}"
    files = (*metadata["files"], *(metadata.get("sha256") or ()))
    odd = next((name for name in files if PurePosixPath(name).name != name), None)
    return "" if odd is None else f"{odd!r} is no name of a file in that folder"


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and text(value[0]) and text(value[1]) and whole(value[2])


_COUNTS = dict.fromkeys(("images", "labels", "without_label", "candidates", "unknown"), whole)
_FIELDS: dict[str, Fits] = {
    "name": text,
    "plan": text,
    "skipped": list_of(record({"path": text, "reason": text})),
    "notes": list_of(text),
    "classes": lambda value: list_of(text)(value) and len(set(value)) == len(value) > 0,
    "groups": record(dict.fromkeys(GROUPS, list_of(whole))),
    "groups_from": text,
    "splits": named(record({**_COUNTS, "cardinality": number, "class_counts": list_of(number)})),
    "pairs": list_of(_pair),
    "files": named(whole),
    "sha256": lambda value: value is None or named(text)(value),
}
