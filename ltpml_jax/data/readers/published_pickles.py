"""The pickles of the appendix, compared with the lists: class_split.pkl (head, middle, tail), class_freq.pkl."""

from typing import Any

import numpy as np
from etils import epath

from ltpml_jax.data.labels import class_groups
from ltpml_jax.data.locations import read_bytes
from ltpml_jax.errors import UserError
from ltpml_jax.runtime import unpickle

Groups = dict[str, np.ndarray]
_SPELLED = {"head": "head", "middle": "medium", "medium": "medium", "tail": "tail"}


def compare(
    pickles: list[epath.Path], class_names: tuple[str, ...], counts: np.ndarray, needed: bool
) -> tuple[Groups | None, list[str]]:
    """The published groups where they are `needed` (None otherwise), and sentences on every difference.

    counts: positives [C] in the training list.

    Raises:
        UserError: a pickle cannot be read or is of another form, is there in two versions, or is needed and missing.
    """
    split = _the_one(pickles, "class_split.pkl", needed)
    frequency = _the_one(pickles, "class_freq.pkl", False)
    if needed and split is None:
        raise UserError(
            "There is no class_split.pkl with the lists; no rule says which of these classes are head, medium and "
            "tail, so copy it there."
        )
    notes: list[str] = []
    groups = None
    if split is not None:
        groups = _read_split(split, len(class_names), needed)
        if not needed:
            notes += _different_groups(groups, class_groups(counts), class_names, split)
    if frequency is not None:
        notes += _different_counts(_read_counts(frequency, len(class_names)), counts, class_names, frequency)
    return groups if needed else None, notes


def _the_one(pickles: list[epath.Path], name: str, needed: bool) -> epath.Path | None:
    """The file of that name; equal copies count as one."""
    found = [path for path in pickles if path.name == name]
    if len({_bytes(path, needed) for path in found}) > 1:
        raise UserError(f"There are different versions of {name}: {', '.join(map(str, found))}; leave one.")
    return found[0] if found else None


def _read_split(path: epath.Path, classes: int, needed: bool) -> Groups:
    """Masks bool [C] by group; every class is in one."""
    content = _read(path, needed)
    try:
        listed = {_SPELLED[group]: _members(members) for group, members in content.items()}
        groups = {group: np.isin(np.arange(classes), members) for group, members in listed.items()}
        whole = sorted(groups) == ["head", "medium", "tail"] and np.all(sum(groups.values()) == 1)
        whole = whole and len(content) == 3 and sum(map(len, listed.values())) == classes
    except (KeyError, TypeError, AttributeError, ValueError):
        whole, groups = False, {}
    if not whole:
        raise UserError(f"{path} does not put each of {classes} classes into head, middle or tail; {_remedy(needed)}.")
    return groups


def _members(value: Any) -> np.ndarray:
    """The distinct classes of a set, list or array of one dimension."""
    members = np.asarray(list(value) if isinstance(value, set | frozenset) else value)
    if members.ndim != 1:
        raise ValueError
    return np.unique(members)


def _read_counts(path: epath.Path, classes: int) -> np.ndarray:
    """Positives [C]."""
    content = _read(path, needed=False)
    try:
        counts = np.asarray(content["class_freq"], np.float64)
    except (KeyError, TypeError, ValueError, IndexError):
        counts = np.zeros(0)
    if counts.shape != (classes,):
        raise UserError(f"{path} does not hold a class_freq of {classes} classes; {_remedy(False)}.")
    return counts


def _bytes(path: epath.Path, needed: bool) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); {_remedy(needed)}.") from error


def _read(path: epath.Path, needed: bool) -> Any:
    return unpickle.read(_bytes(path, needed), str(path), remedy=_remedy(needed))


def _remedy(needed: bool) -> str:
    if needed:
        return "copy it again, because no rule can take its place"
    return "copy it again or delete it: it is only compared with the lists"


def _different_groups(published: Groups, computed: Groups, class_names: tuple[str, ...], path: epath.Path) -> list[str]:
    moved = [
        f"{class_names[index]} ({_group_of(published, index)}, by count {_group_of(computed, index)})"
        for index in range(len(class_names))
        if _group_of(published, index) != _group_of(computed, index)
    ]
    return [f"{path.name} differs from the counts, which are used: {', '.join(moved)}"] if moved else []


def _group_of(groups: Groups, index: int) -> str:
    return next(group for group, mask in groups.items() if mask[index])


def _different_counts(
    published: np.ndarray, counted: np.ndarray, class_names: tuple[str, ...], path: epath.Path
) -> list[str]:
    differ = np.flatnonzero(published != counted)
    wrong = [f"{class_names[i]} {published[i]:g}, counted {counted[i]:g}" for i in differ]
    return [f"{path.name} differs from the training list, which is used: {', '.join(wrong)}"] if wrong else []
