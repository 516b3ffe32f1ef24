"""What is known of a label: four states in an int8 [N, C] table, and what follows from them.

A 1 in such a table is a positive, so a table of clean labels is an ordinary multi-hot matrix.
"""

from enum import IntEnum

import numpy as np

# Positives in the training split, after the LT-PML papers: >= 100, 20..99, < 20.
HEAD_AT_LEAST, MEDIUM_AT_LEAST = 100, 20
GROUPS = ("head", "medium", "tail")


class LabelState(IntEnum):
    """What an annotation says of one class of one image."""

    NEGATIVE = 0  # known to be absent
    POSITIVE = 1  # known to be present
    CANDIDATE = 2  # named by some annotator: present or not
    UNKNOWN = 3  # nobody looked


def is_clean(states: np.ndarray) -> bool:
    """Whether every entry of states [N, C] is a known positive or negative."""
    return not (states > LabelState.POSITIVE).any()


def class_counts(states: np.ndarray) -> np.ndarray:
    """Positives of each class, float64 [C]; an image's candidates share one positive, unknown ones count nothing."""
    candidate = states == LabelState.CANDIDATE
    share = 1 / np.maximum(candidate.sum(1), 1)
    return (states == LabelState.POSITIVE).sum(0) + share @ candidate


def class_groups(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Boolean masks [C] of the head (>= 100), medium (20..99) and tail (< 20) classes by positives [C]."""
    head, tail = counts >= HEAD_AT_LEAST, counts < MEDIUM_AT_LEAST
    return {"head": head, "medium": ~head & ~tail, "tail": tail}
