"""What is known of a label: four states in an int8 [N, C] table, and what follows from them.

A 1 in such a table is a positive, so a table of clean labels is an ordinary multi-hot matrix.
"""

from collections.abc import Iterator

import numpy as np

from ltpml_jax.methods.label_states import LabelState

# Positives in the training split, after the LT-PML papers: >= 100, 20..99, < 20.
HEAD_AT_LEAST, MEDIUM_AT_LEAST = 100, 20
GROUPS = ("head", "medium", "tail")
_ENTRIES = 2**22  # of a table that are read at a time


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of the rows of a table, from beginning to end, each of a bounded number of entries; 8 divides starts."""
    step = max(_ENTRIES // max(columns, 1) // 8 * 8, 8)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def is_clean(states: np.ndarray) -> bool:
    """Whether every entry of states [N, C] is a known positive or negative."""
    return not any((states[part] > LabelState.POSITIVE).any() for part in blocks(*states.shape))


def class_counts(states: np.ndarray) -> np.ndarray:
    """Positives of each class, float64 [C]; an image's candidates share one positive, unknown ones count nothing."""
    total = np.zeros(states.shape[1])
    for part in blocks(*states.shape):
        candidate = states[part] == LabelState.CANDIDATE
        share = 1 / np.maximum(candidate.sum(1), 1)
        total += (states[part] == LabelState.POSITIVE).sum(0) + share @ candidate
    return total


def class_groups(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Boolean masks [C] of the head (>= 100), medium (20..99) and tail (< 20) classes by positives [C]."""
    head, tail = counts >= HEAD_AT_LEAST, counts < MEDIUM_AT_LEAST
    return {"head": head, "medium": ~head & ~tail, "tail": tail}
