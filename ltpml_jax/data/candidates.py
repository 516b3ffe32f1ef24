"""Candidate label sets and the validation split, drawn once and the same on every machine."""

import hashlib

import numpy as np

from ltpml_jax.errors import UserError

# One number a purpose, so that two draws from one user seed never share a stream.
_CANDIDATES, _VALIDATION = 0, 1


def draw_candidates(labels: np.ndarray, partial_rate: float, seed: int) -> np.ndarray:
    """Candidate sets int8 [N,C]: all true labels, and every other class with probability `partial_rate`.

    The flips are independent per sample and class. `labels` is a multi-hot int8 [N,C] and is left as it is.

    Raises:
        UserError: the partial rate is outside [0, 1) or not a number.
    """
    if not 0.0 <= partial_rate < 1.0:  # a NaN fails this comparison too
        raise UserError(f"the partial rate is {partial_rate}; set it to at least 0 and below 1.")
    # The raw 64-bit output of Philox is fixed for ever; NumPy may change how its distributions use it.
    raw = np.random.Philox(key=(seed, _CANDIDATES)).random_raw(labels.size)
    uniform = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
    flipped = uniform.reshape(labels.shape) < partial_rate
    return ((labels != 0) | flipped).astype(np.int8)


def digest(table: np.ndarray) -> str:
    """The sha256 (64 hex digits) of a label table [N,C]: its shape and its entries as int8."""
    table = np.ascontiguousarray(table, dtype=np.int8)
    shape = ",".join(str(side) for side in table.shape)
    return hashlib.sha256(f"int8[{shape}]".encode() + table.tobytes()).hexdigest()


def split_validation(n: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted, disjoint int64 rows (training, validation) of `n` samples; round(n * fraction) validate.

    Raises:
        UserError: the fraction is outside [0, 1) or leaves no training sample.
    """
    if not 0.0 <= fraction < 1.0:
        raise UserError(f"the validation fraction is {fraction}; set it to at least 0 and below 1.")
    held_out = round(n * fraction)
    if held_out == n:
        raise UserError(f"a validation fraction of {fraction} leaves none of {n} training images; lower it.")
    raw = np.random.Philox(key=(seed, _VALIDATION)).random_raw(n)
    order = np.argsort(raw, kind="stable")
    return np.sort(order[held_out:]), np.sort(order[:held_out])
