"""What lt_pml.json must be like before anything of it is used: fields, their kinds, and what goes with what."""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from ltpml_jax.data.labels import GROUPS
from ltpml_jax.data.locations import unwritable

_SPLITS = {"train", "validation", "test"}


def misfit(metadata: dict[str, Any]) -> str:
    """The first thing in the content of lt_pml.json that the writer would not have put there; "" where all is well.

    Fields that nothing reads may be missing or of any kind.
    """
    for name, fits in _FIELDS.items():
        if not fits(metadata.get(name)):
            return f"the field {name!r} is not as written"
    classes, splits = metadata["classes"], metadata["splits"]
    if sorted(number for group in GROUPS for number in metadata["groups"][group]) != list(range(len(classes))):
        return "the groups are not the classes, each once"
    if any(len(split["class_counts"]) != len(classes) for split in splits.values()):
        return "there are not as many counts as classes"
    if not {"train", "test"} <= splits.keys() <= _SPLITS:
        return f"the splits are {', '.join(map(repr, splits))}"
    files = (*metadata["files"], *(metadata.get("sha256") or ()))
    odd = next((name for name in files if PurePosixPath(name).name != name), None)
    return "" if odd is None else f"{odd!r} is no name of a file in that folder"


def _text(value: Any) -> bool:
    return isinstance(value, str) and not unwritable(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63


def _whole(value: Any) -> bool:
    return _number(value) and isinstance(value, int)


def _list(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _named(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(_text, value)) and all(map(fits, value.values()))


def _with(fields: dict[str, Callable[[Any], bool]]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(fits(value.get(name)) for name, fits in fields.items())


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and _text(value[0]) and _text(value[1]) and _whole(value[2])


_COUNTS = dict.fromkeys(("images", "labels", "without_label", "candidates", "unknown"), _whole)
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "name": _text,
    "plan": _text,
    "skipped": _list(_with({"path": _text, "reason": _text})),
    "notes": _list(_text),
    "classes": lambda value: _list(_text)(value) and len(set(value)) == len(value) > 0,
    "groups": _with(dict.fromkeys(GROUPS, _list(_whole))),
    "groups_from": _text,
    "splits": _named(_with({**_COUNTS, "cardinality": _number, "class_counts": _list(_number)})),
    "pairs": _list(_pair),
    "files": _named(_whole),
    "sha256": lambda value: value is None or _named(_text)(value),
}
