"""Weak labels exactly as released code draws them, from NumPy's legacy generator, which is frozen for good.

Each function takes clean labels [N, C] in {0, 1}, images in the published order, which it leaves as they are, and gives
states int8 [N, C] of `labels.LabelState`. An image's draw depends on all images before it: on another order, or on a
part of the set, results differ. For data of one's own `corruption` has draws without these limits.
"""

import numpy as np

from ltpml_jax.data.labels import LabelState


def spml_single_positive(labels: np.ndarray, seed: int = 1200) -> np.ndarray:
    """One positive an image, the rest unknown: Cole et al., CVPR 2021, with their seed.

    One generator for the set; for each image it shuffles the positives, of which the first is kept, and then the
    negatives, of which none is: that draw only moves the generator. An image without positives keeps none.
    """
    rng = np.random.RandomState(seed)
    states = np.full(labels.shape, LabelState.UNKNOWN, np.int8)
    for row, image in enumerate(labels):
        present, absent = np.flatnonzero(image == 1), np.flatnonzero(image != 1)
        rng.shuffle(present)
        rng.shuffle(absent)
        states[row, present[:1]] = LabelState.POSITIVE
    return states


def hcp_proportion(labels: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """Every label, positive or negative, known with probability `share`, else unknown; as HCP-MLR-PL and PU-MLC."""
    known = np.random.RandomState(seed).random_sample(labels.shape) < share
    return np.where(known, labels, LabelState.UNKNOWN).astype(np.int8)


def ndlp_candidates(labels: np.ndarray, rate: float, seed: int = 0) -> np.ndarray:
    """NDLP's candidate sets: all positives, and each negative with probability `rate`.

    The released generator is not seeded and overwrites the labels that it is given; this one does neither.
    """
    uniform = np.random.RandomState(seed).random_sample(labels.shape)
    candidate = uniform < np.where(labels == 1, 1.0, rate)
    return np.where(candidate, LabelState.CANDIDATE, LabelState.NEGATIVE).astype(np.int8)
