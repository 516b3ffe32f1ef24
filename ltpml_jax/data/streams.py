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
    FOLDS = 7


def raw(size: int, seed: int, purpose: Purpose) -> np.ndarray:
    """`size` random uint64. Philox's own output is fixed; how NumPy's distributions use it may change.

    Raises:
        UserError: the seed is not an integer from 0 to 2**64 - 1.
    """
    return span(0, size, seed, purpose)


def span(start: int, stop: int, seed: int, purpose: Purpose) -> np.ndarray:
    """Numbers `start` to `stop` of what `raw` gives, without those before them; raises as `raw`."""
    if not (isinstance(seed, int | np.integer) and 0 <= seed < 2**64):
        raise UserError(f"the seed is {seed}; set it to an integer from 0 to 2**64 - 1.")
    bits = np.random.Philox(key=(int(seed), int(purpose)))
    bits.advance(start // 4)  # a step of the counter makes four numbers
    return bits.random_raw(stop - start // 4 * 4)[start % 4 :]


def uniform(shape: tuple[int, ...], seed: int, purpose: Purpose) -> np.ndarray:
    """Float64 numbers in [0, 1) of the given shape, in steps of 2**-53; raises as `raw`."""
    return _unit(raw(int(np.prod(shape)), seed, purpose)).reshape(shape)


def uniform_rows(rows: np.ndarray, columns: int, seed: int, purpose: Purpose) -> np.ndarray:
    """Rows int64 [n] of `uniform((N, columns), ...)`, float64 [n, columns], without the others; raises as `raw`."""
    if not len(rows):
        return np.zeros((0, columns))
    first, last = int(rows.min()), int(rows.max())
    if last - first < 4 * len(rows):  # nearly all of a stretch: one call for it
        stretch = span(first * columns, (last + 1) * columns, seed, purpose).reshape(-1, columns)
        return _unit(stretch[rows - first])
    return _unit(np.stack([span(row * columns, (row + 1) * columns, seed, purpose) for row in rows.tolist()]))


def _unit(numbers: np.ndarray) -> np.ndarray:
    return (numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53
