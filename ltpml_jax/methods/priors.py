"""Class counts: the true ones (`oracle`) or an estimate from candidate sets alone (`estimated`).

Under LT-PML a candidate column j holds every true positive and each negative with probability q (the
partial rate), so with N images and n_j positives

    E[S_j] = n_j + q (N - n_j)        and        n_j = (E[S_j] - q N) / (1 - q).

Given q, `unbiased_counts` inverts that line and is unbiased. The flip rate q itself is not identified by
column sums alone (C sums, C + 1 unknowns); what identifies it is the long tail: columns of rare classes hold
little but flips. `estimate_flip_rate` is the posterior mean of q, flat prior, under S_j ~ Binomial(N, q + (1 - q) pi_j)
with pi_j log-uniform (an exponential long tail) between two ends that are unknown and averaged over. Its error
is measured by benchmarks/priors.py; docs/results.md has the figures.

Beside candidates people's labels have positives and negatives that are known. Where doubt does not choose among
classes, n_j known positives say how many of the candidates are true: `counts_beside_known` has that model.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ltpml_jax.methods.label_states import LabelState

RATES = 400  # values of q in the scan: finer than its standard error
FREQUENCIES = 120  # log-spaced class frequencies between 1/N and 1
LOWEST_END, HIGHEST_START = 0.1, 30  # the tail ends somewhere above 10 % of the images, starts below 30 of them
ENDS = 8  # choices of either end
HIGHEST_MISSING = 0.99  # of the estimates of a missing rate
ENOUGH_KNOWN = 100  # positives: with fewer, the long tail says more of the flip rate than they do
ROUNDS = 2000  # of expectation maximisation


class Prior(NamedTuple):
    """What a method may know of the classes.

    class_count: float [C], positives that are not hidden behind an unknown; train_size: float [], N; flip_rate: float
    [], P(candidate | absent), one for all classes; count_error: float [], the standard error of class_count that the
    flips alone cause; missing_rate: float [], P(unknown | present); true_counts: bool [], whether class_count counts
    all positives, hidden ones as well; state_count: float [4, C], images by LabelState and class, None where one
    has the counts alone, as of candidates and negatives (a run always has it).
    """

    class_count: jax.Array | np.ndarray
    train_size: jax.Array | np.ndarray
    flip_rate: jax.Array | np.ndarray = np.zeros((), np.float32)
    count_error: jax.Array | np.ndarray = np.zeros((), np.float32)
    missing_rate: jax.Array | np.ndarray = np.zeros((), np.float32)
    true_counts: jax.Array | np.ndarray = np.zeros((), bool)
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


def counts_beside_known(states: np.ndarray) -> tuple[float, np.ndarray]:
    """Flip rate and class counts float64 [C] of labels int [4, C] by LabelState, among those that are not unknown.

    Maximum likelihood of P(candidate | present) = d and P(candidate | absent) = q, each the same for all classes:
    an image is a known positive of class j with pi_j (1 - d), a candidate with pi_j d + (1 - pi_j) q, else a negative.
    Classes of different size identify both; of classes that are all alike the start remains, which is the flip rate of
    the long tail. Where doubt does choose among classes, counts lean; they never leave the known positives and what
    may be one.
    """
    known, open_, seen = states[LabelState.POSITIVE], states[LabelState.CANDIDATE], states.sum(0)
    seen = seen - states[LabelState.UNKNOWN]
    others = np.maximum(seen - known, 1)
    size = round(others.mean())
    flip = estimate_flip_rate(np.rint(open_ / others * size).astype(np.int64), size)
    counts = np.clip((known + open_ - flip * seen) / (1 - flip), known, known + open_)
    if known.sum() < ENOUGH_KNOWN:
        return flip, counts
    counts = np.maximum(counts, known + np.minimum(open_, 0.5))  # of none at all no candidate could become one
    for _ in range(ROUNDS):
        doubt = (counts - known).sum() / counts.sum()
        flip = max((known + open_ - counts).sum(), 0) / max((seen - counts).sum(), 1)
        present = counts * doubt
        absent = (seen - counts) * flip
        counts = known + open_ * present / np.maximum(present + absent, 1e-300)
    return float(flip), counts


def estimate_missing_rate(empty: float, mean: float) -> float:
    """The rate r at which positives are missing, from the share of images that have none left and the mean number left.

    Assumes that every image had 1 + Poisson(l) positives, and that each is missing alike: (1 - r) (1 + l) = mean and
    r exp(-l (1 - r)) = empty, so that r exp(1 - r - mean) = empty. 0 where no image is empty, which says nothing of r.
    """
    low, high = 0.0, 1.0
    for _ in range(60):  # a bit of float64 each
        rate = (low + high) / 2
        low, high = (rate, high) if rate * np.exp(1 - rate - mean) < empty else (low, rate)
    return min(low, HIGHEST_MISSING)


def estimated_prior(columns: np.ndarray, n: int, states: np.ndarray | None = None, empty: int = 0) -> Prior:
    """Prior from the column sums int [C] of n candidate sets alone; counts are cut at 1, as a loss divides by them.

    states: int [4, C], how often a class has each LabelState. Where no label is a candidate nothing is flipped, and
    the positives are counted as they stand; where labels are unknown then, some of them are missing positives, by
    `empty`, the number of images without any positive.
    """
    if states is not None and not states[LabelState.CANDIDATE].any():
        missing = estimate_missing_rate(empty / n, columns.sum() / n) if states[LabelState.UNKNOWN].any() else 0.0
        return _prior(columns, n, states, missing_rate=missing)
    if states is None or not states[[LabelState.POSITIVE, LabelState.UNKNOWN]].any():
        rate = estimate_flip_rate(columns, n)
        counts = unbiased_counts(columns, n, rate)
    else:
        among_seen, counts = counts_beside_known(states)
        rate = among_seen * (1 - states[LabelState.UNKNOWN].mean() / n)
    return _prior(np.maximum(counts, 1), n, states, flip_rate=rate, count_error=np.sqrt(n * rate / (1 - rate)))


def oracle_prior(columns: np.ndarray, n: int, states: np.ndarray | None = None) -> Prior:
    """Prior from the column sums int [C] of n true labels, as the reference uses it.

    states: as of `estimated_prior`, of what training sees; the flip rate is the share of all negatives that are
    candidates there, or, where nothing is a candidate, the missing rate that of positives that are not seen. Both are
    0 without `states`.
    """
    if states is None:
        return _prior(columns, n, None, true_counts=True)
    seen, present = states[LabelState.POSITIVE].sum() + states[LabelState.CANDIDATE].sum(), columns.sum()
    flipped, missing = (seen - present) / max(n * len(columns) - present, 1), 1 - seen / max(present, 1)
    rates = {"flip_rate": flipped} if states[LabelState.CANDIDATE].any() else {"missing_rate": missing}
    return _prior(
        columns, n, states, true_counts=True, **{name: np.clip(rate, 0, 0.99) for name, rate in rates.items()}
    )


@jax.jit
def missing_rates(prior: Prior) -> jax.Array:
    """P(unknown | present) float [C]: how many of the positives class_count leaves out, as far as labels say it.

    A class that has known negatives lacks labels at random; else by the prior's missing rate. 0 without unknown ones.
    """
    states = prior.state_count
    if states is None:
        return jnp.zeros_like(jnp.asarray(prior.class_count))
    unknown = jnp.asarray(states[LabelState.UNKNOWN])
    at_random = jnp.minimum(unknown / prior.train_size, HIGHEST_MISSING)
    rates = jnp.where(states[LabelState.NEGATIVE] > 0, at_random, jnp.asarray(prior.missing_rate))
    return jnp.where(unknown > 0, rates, 0.0)


def expected_shares(prior: Prior) -> np.ndarray:
    """The share of all images float64 [C] that have a class, with those where its label is unknown."""
    counts = np.asarray(prior.class_count, np.float64)
    if not prior.true_counts:
        counts = counts / (1 - np.asarray(missing_rates(prior), np.float64))
    return counts / np.asarray(prior.train_size, np.float64)


def _prior(
    counts: np.ndarray, size: int, states: np.ndarray | None, true_counts: bool = False, **rates: float
) -> Prior:
    numbers = {name: np.asarray(rate, np.float32) for name, rate in rates.items()}
    known = None if states is None else np.asarray(states, np.float32)
    return Prior(
        np.asarray(counts, np.float32),
        np.asarray(size, np.float32),
        true_counts=np.asarray(true_counts),
        state_count=known,
        **numbers,
    )
