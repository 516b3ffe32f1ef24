"""Several annotators of one image: what their judgements come to."""

import numpy as np

from ltpml_jax.data.labels import LabelState

# Evidence as bits, so that "or" joins judgements: 1 for absent, 2 for present.
_EVIDENCE = np.empty(4, np.uint8)
_EVIDENCE[[LabelState.UNKNOWN, LabelState.NEGATIVE, LabelState.POSITIVE, LabelState.CANDIDATE]] = 0, 1, 2, 3
_STATE = np.argsort(_EVIDENCE).astype(np.int8)


def merge(images: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Labels int8 [M, C] of M images from judgements int8 [J, C] of images int [J], each of 0 .. M-1 at least once.

    A class is positive (negative) if all who judged it agree on that, unknown if none did, and a candidate
    otherwise: where two disagree, or one was not sure. The order of the judgements makes no difference.
    """
    order = np.argsort(images, kind="stable")
    starts = np.searchsorted(images[order], np.arange(images.max() + 1))
    return _STATE[np.bitwise_or.reduceat(_EVIDENCE[states[order]], starts, axis=0)]
