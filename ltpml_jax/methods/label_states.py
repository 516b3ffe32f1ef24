"""The four states of a label; the data have them from here, as methods import nothing but each other."""

from enum import IntEnum
from typing import Any


class LabelState(IntEnum):
    """The annotation of one class in one image."""

    NEGATIVE = 0  # known to be absent
    POSITIVE = 1  # known to be present
    CANDIDATE = 2  # named by some annotator: present or not
    UNKNOWN = 3  # not annotated


def listed(states: Any) -> Any:
    """Where an annotator named a class, bool [...] of states [...] of NumPy or JAX: positives and candidates."""
    return (states == LabelState.POSITIVE) | (states == LabelState.CANDIDATE)
