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


class Prior(NamedTuple):
    """What a loss may know of the classes: `class_count` float [C] and `train_size` float []."""

    class_count: jax.Array | np.ndarray
    train_size: jax.Array | np.ndarray


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


def estimated_prior(columns: np.ndarray, n: int) -> Prior:
    """Prior from the column sums int [C] of n candidate sets alone; counts are cut at 1, as a loss divides by them."""
    counts = unbiased_counts(columns, n, estimate_flip_rate(columns, n))
    return _prior(np.maximum(counts, 1), n)


def oracle_prior(columns: np.ndarray, n: int) -> Prior:
    """Prior from the column sums int [C] of n true labels, as the reference uses it."""
    return _prior(columns, n)


def _prior(counts: np.ndarray, size: int) -> Prior:
    return Prior(np.asarray(counts, np.float32), np.asarray(size, np.float32))
