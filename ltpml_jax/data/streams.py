"""Random numbers that are the same on every machine, with every version of NumPy."""

from enum import IntEnum

import numpy as np

from ltpml_jax.errors import UserError


class Purpose(IntEnum):
    """One number a purpose, so that two draws from one user seed never share a stream; never change or reuse one."""

    CANDIDATES = 0
    VALIDATION = 1
    STRATIFIED_SPLIT = 2
    TAIL_BIASED = 3
    MISSING = 4
    KEEP = 5
    SINGLE = 6


def raw(size: int, seed: int, purpose: Purpose) -> np.ndarray:
    """`size` random uint64. Philox's own output is fixed for ever; how NumPy's distributions use it is not.

    Raises:
        UserError: the seed is not an integer from 0 to 2**64 - 1.
    """
    if not (isinstance(seed, int | np.integer) and 0 <= seed < 2**64):
        raise UserError(f"the seed is {seed}; set it to an integer from 0 to 2**64 - 1.")
    return np.random.Philox(key=(int(seed), int(purpose))).random_raw(size)


def uniform(shape: tuple[int, ...], seed: int, purpose: Purpose) -> np.ndarray:
    """Float64 numbers in [0, 1) of the given shape, in steps of 2**-53; raises as `raw`."""
    numbers = raw(int(np.prod(shape)), seed, purpose)
    return ((numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)
