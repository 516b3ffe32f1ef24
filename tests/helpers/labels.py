"""Candidate sets as plain 0/1 tables, for tests that look at counts and places."""

import numpy as np

from ltpml_jax.data.candidates import draw_candidates


def candidate_sets(labels: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Int8 [N, C], 1 where a run at this rate and seed has a candidate."""
    return (draw_candidates(labels, np.arange(len(labels)), rate, seed) != 0).astype(np.int8)
