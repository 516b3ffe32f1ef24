"""Candidate sets as plain 0/1 tables, for tests that look at counts and places; what holds of all corruption."""

from collections.abc import Callable

import numpy as np

from ltpml_jax.data.candidates import draw_candidates


def candidate_sets(labels: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Int8 [N, C], 1 where a run at this rate and seed has a candidate."""
    return (draw_candidates(labels, np.arange(len(labels)), rate, seed) != 0).astype(np.int8)


def check_seeded(make: Callable[[np.ndarray, int], np.ndarray], labels: np.ndarray) -> None:
    """A table int8 [N, C] that `make` draws from labels and a seed follows from both, and leaves the labels alone."""
    before = labels.copy()
    first, again, other = (make(labels, seed) for seed in (1, 1, 2))
    assert first.dtype == np.int8 and first.shape == labels.shape
    assert (first == again).all() and (first != other).any()
    assert (before == labels).all() and not np.shares_memory(first, labels)
