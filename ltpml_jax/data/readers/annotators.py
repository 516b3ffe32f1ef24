"""Several annotators of one image: what their judgements come to, and where they disagree."""

import numpy as np

from ltpml_jax.data.labels import LabelState

# Evidence as bits, so that "or" joins judgements: 1 for absent, 2 for present.
_EVIDENCE = np.empty(4, np.uint8)
_EVIDENCE[[LabelState.UNKNOWN, LabelState.NEGATIVE, LabelState.POSITIVE, LabelState.CANDIDATE]] = 0, 1, 2, 3
_STATE = np.argsort(_EVIDENCE).astype(np.int8)
_SURE = np.where(np.arange(4) == LabelState.CANDIDATE, 0, _EVIDENCE).astype(np.uint8)


def merge(images: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Labels int8 [M, C] of M images from judgements int8 [J, C] of images int [J], each of 0 .. M-1 at least once.

    A class is positive (negative) if all who judged it agree on that, unknown if none did, and a candidate
    otherwise: where two disagree, or one was not sure. The order of the judgements makes no difference.
    """
    return _STATE[_joined(images, _EVIDENCE[states])]


def disagreements(images: np.ndarray, states: np.ndarray) -> np.ndarray:
    """The labels of which one annotator says present and another absent, of judgements as for `merge`.

    int64 [D, 4], in order: image, class, how many say present, how many say absent. Those who are not sure, or did not
    look, are in neither number.
    """
    disputed = _joined(images, _SURE[states]) == _SURE[LabelState.POSITIVE] | _SURE[LabelState.NEGATIVE]
    where = np.flatnonzero(disputed)
    judged, classes = np.nonzero(disputed[images])
    entries = np.searchsorted(where, images[judged] * disputed.shape[1] + classes)
    given = states[judged, classes]
    counts = [
        np.bincount(entries[given == state], minlength=len(where))
        for state in (LabelState.POSITIVE, LabelState.NEGATIVE)
    ]
    return np.stack([*np.divmod(where, disputed.shape[1]), *counts], 1).astype(np.int64)


def _joined(images: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """What all judgements of each image say together, uint8 [M, C]."""
    order = np.argsort(images, kind="stable")
    starts = np.searchsorted(images[order], np.arange(images.max() + 1))
    return np.bitwise_or.reduceat(evidence[order], starts, axis=0)
