"""Class counts: the true ones (`oracle`) or an estimate from candidate sets alone (`estimated`).

Under LT-PML a candidate column j holds every true positive and each negative with probability q (the
partial rate), so with N images and n_j positives

    E[S_j] = n_j + q (N - n_j)        and        n_j = (E[S_j] - q N) / (1 - q).

Given q, `unbiased_counts` inverts that line and is unbiased. The flip rate q itself is not identified by
column sums alone (C sums, C + 1 unknowns); what identifies it is the long tail: columns of rare classes hold
little but flips. `estimate_flip_rate` is the posterior mean of q, flat prior, under S_j ~ Binomial(N, q + (1 - q) pi_j)
with pi_j log-uniform (an exponential long tail) between two ends that are unknown and averaged over. Its error
is measured by benchmarks/priors.py; the README has the figures.
"""

from typing import NamedTuple

import jax
import numpy as np

RATES = 400  # values of q in the scan: finer than its standard error
FREQUENCIES = 120  # log-spaced class frequencies between 1/N and 1
LOWEST_END, HIGHEST_START = 0.1, 30  # the tail ends somewhere above 10 % of the images, starts below 30 of them
ENDS = 8  # choices of either end
POSITIVE, CANDIDATE = 1, 2  # of LabelState, which lies a layer above


class Prior(NamedTuple):
    """What a method may know of the classes.

    class_count: float [C], positives that are not hidden behind an unknown; train_size: float [], N; flip_rate: float
    [], P(candidate | absent), one for all classes; count_error: float [], the standard error of class_count that the
    flips alone cause, 0 where the counts are true; state_count: float [4, C], images by LabelState and class, None
    where there are only candidates and negatives.
    """

    class_count: jax.Array | np.ndarray
    train_size: jax.Array | np.ndarray
    flip_rate: jax.Array | np.ndarray = np.zeros((), np.float32)
    count_error: jax.Array | np.ndarray = np.zeros((), np.float32)
    state_count: jax.Array | np.ndarray | None = None


def estimate_flip_rate(columns: np.ndarray, n: int) -> float:
    """Posterior mean of the flip rate q, from column sums int [C] of n candidate sets; the model is above."""
    rates = np.linspace(0, min((columns.min() + 4 * np.sqrt(n)) / n, 1), RATES, endpoint=False)
    frequency = np.geomspace(1 / n, 1, FREQUENCIES)
    on = np.clip(rates[:, None] + (1 - rates[:, None]) * frequency, 1e-12, 1 - 1e-12)
    first = np.searchsorted(frequency, np.geomspace(1 / n, min(HIGHEST_START / n, LOWEST_END), ENDS))
    last = np.searchsorted(frequency, np.geomspace(LOWEST_END, 1, ENDS))
    likelihood = sum(_column_likelihood(column, n, on, first, last) for column in columns)
    weight = np.exp(likelihood - np.max(likelihood)).sum((1, 2))
    return float((weight * rates).sum() / weight.sum())


def _column_likelihood(column: int, n: int, on: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Log-likelihood of one column sum, up to a constant: [RATES, ENDS, ENDS] for q and either end of the tail.

    The frequencies between two ends are a slice of one grid, so that a running sum gives all slices at once.
    """
    log = column * np.log(on) + (n - column) * np.log1p(-on)
    peak = log.max()
    running = np.cumsum(np.exp(log - peak), axis=1)
    slices = running[:, None, last] - running[:, first, None] + np.exp(log - peak)[:, first, None]
    mean = slices / (last[None, :] - first[:, None] + 1)
    return np.log(np.maximum(mean, 1e-300)) + peak


def unbiased_counts(columns: np.ndarray, n: int, flip_rate: float) -> np.ndarray:
    """Unbiased class counts float64 [C] at a known flip rate, of n candidate sets; may be negative."""
    return (columns - flip_rate * n) / (1 - flip_rate)


def estimated_prior(columns: np.ndarray, n: int, states: np.ndarray | None = None) -> Prior:
    """Prior from the column sums int [C] of n candidate sets alone; counts are cut at 1, as a loss divides by them.

    states: int [4, C], how often a class has each LabelState; where no label is a candidate nothing is flipped.
    """
    rate = 0.0 if states is not None and not states[CANDIDATE].any() else estimate_flip_rate(columns, n)
    counts = unbiased_counts(columns, n, rate)
    return _prior(np.maximum(counts, 1), n, rate, np.sqrt(n * rate / (1 - rate)), states)


def oracle_prior(columns: np.ndarray, n: int, states: np.ndarray | None = None) -> Prior:
    """Prior from the column sums int [C] of n true labels, as the reference uses it.

    states: as of `estimated_prior`, of what training sees; the flip rate is the share of all negatives that are
    candidates there, and 0 without `states`.
    """
    rate = 0.0
    if states is not None and states[CANDIDATE].any():
        seen = states[POSITIVE].sum() + states[CANDIDATE].sum()
        rate = float(np.clip((seen - columns.sum()) / max(n * len(columns) - columns.sum(), 1), 0, 1))
    return _prior(columns, n, rate, 0.0, states)


def _prior(counts: np.ndarray, size: int, rate: float, error: float, states: np.ndarray | None) -> Prior:
    numbers = (np.asarray(value, np.float32) for value in (counts, size, rate, error))
    return Prior(*numbers, state_count=None if states is None else np.asarray(states, np.float32))
