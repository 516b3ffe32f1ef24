import numpy as np
import pytest

from ltpml_jax.methods import priors
from tests.helpers.labels import candidate_sets

N, C = 1200, 20


def sums(table: np.ndarray) -> tuple[np.ndarray, int]:
    return table.sum(0, dtype=np.int64), len(table)


def long_tail(seed: int, n: int = N, classes: int = C, most: int = 700, least: int = 4) -> np.ndarray:
    """Labels int8 [n, classes] with exactly geometric class counts."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((n, classes), np.int8)
    for j, count in enumerate(np.geomspace(most, least, classes).round().astype(int)):
        labels[rng.choice(n, count, replace=False), j] = 1
    return labels


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5])
def test_counts_are_unbiased_over_draws_at_a_known_rate(rate):
    labels = long_tail(0, n=300, most=150)
    draws = np.stack([priors.unbiased_counts(*sums(candidate_sets(labels, rate, seed)), rate) for seed in range(400)])
    truth = labels.sum(0)
    error = draws.std(0, ddof=1) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - truth) < 4.5 * error).all()
    # The spread is that of the flips alone: a binomial over the negatives, stretched by 1 / (1 - q).
    spread = np.sqrt((300 - truth) * rate * (1 - rate)) / (1 - rate)
    np.testing.assert_allclose(draws.std(0, ddof=1), spread, rtol=0.2)


def test_unbiased_counts_by_hand():
    candidates = np.repeat(np.array([[1, 0], [1, 1], [0, 0], [1, 0]], np.int8), 25, axis=0)
    np.testing.assert_allclose(priors.unbiased_counts(*sums(candidates), 0.2), [(75 - 20) / 0.8, (25 - 20) / 0.8])


def test_rate_zero_gives_the_candidate_counts():
    labels = long_tail(1)
    np.testing.assert_allclose(priors.unbiased_counts(*sums(labels), 0.0), labels.sum(0))


@pytest.mark.parametrize("rate", [0.3, 0.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_flip_rate_on_a_long_tail(rate, seed):
    candidates = candidate_sets(long_tail(seed), rate, seed)
    assert abs(priors.estimate_flip_rate(*sums(candidates)) - rate) < 0.015


@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_low_flip_rates_of_many_classes(rate):
    labels = long_tail(3, n=1909, classes=80, most=1128, least=6)
    assert abs(priors.estimate_flip_rate(*sums(candidate_sets(labels, rate, 0))) - rate) < 0.01


def test_estimate_sees_columns_only_and_leaves_its_input():
    candidates = candidate_sets(long_tail(0), 0.3, 0)
    before = candidates.copy()
    shuffled = np.random.default_rng(0).permuted(candidates, axis=0)
    estimate = priors.estimate_flip_rate(*sums(candidates))
    np.testing.assert_allclose(priors.estimate_flip_rate(*sums(shuffled[:, ::-1])), estimate, rtol=1e-9)
    np.testing.assert_array_equal(candidates, before)


def test_estimated_prior_is_at_least_one_and_close_for_common_classes():
    labels = long_tail(5)
    prior = priors.estimated_prior(*sums(candidate_sets(labels, 0.5, 5)))
    count = np.asarray(prior.class_count)
    assert count.shape == (C,) and count.dtype == np.float32 and float(prior.train_size) == N
    assert (count >= 1).all() and (count == 1).any()  # at q = 0.5 the noise cuts some rare class
    np.testing.assert_allclose(count[:3], labels.sum(0)[:3], rtol=0.15)


def test_columns_without_any_candidate_stay_finite():
    candidates = candidate_sets(long_tail(0), 0.3, 0)
    candidates[:, -1] = 0
    prior = priors.estimated_prior(*sums(candidates))
    assert np.isfinite(prior.class_count).all() and (np.asarray(prior.class_count) >= 1).all()


def test_oracle_prior_counts_exactly():
    labels = long_tail(2)
    labels[:, 3] = 0
    prior = priors.oracle_prior(*sums(labels))
    np.testing.assert_array_equal(prior.class_count, labels.sum(0))
    assert float(prior.train_size) == N


def test_the_flip_rate_that_the_true_counts_give():
    """Of 2 x 10 labels 12 are positive, 10 of them as candidates; 4 of the 8 negatives are candidates too."""
    states = np.array([[3, 1], [1, 1], [6, 8], [0, 0]])
    found = priors.oracle_prior(np.array([5, 7]), 10, states)
    assert float(found.flip_rate) == pytest.approx(4 / 8) and float(found.count_error) == 0
    np.testing.assert_array_equal(found.state_count, states)


@pytest.mark.parametrize("rate", [0.2, 0.4, 0.6])
def test_the_missing_rate_follows_from_images_without_any_positive(rate):
    """1 + Poisson(1) positives an image, each missing with the rate."""
    rng = np.random.default_rng(0)
    left = rng.binomial(1 + rng.poisson(1.0, 20_000), 1 - rate)
    assert priors.estimate_missing_rate((left == 0).mean(), left.mean()) == pytest.approx(rate, abs=0.02)


def test_missing_rates_where_the_counts_cannot_say():
    assert priors.estimate_missing_rate(0.0, 1.7) == pytest.approx(0, abs=1e-9)
    assert priors.estimate_missing_rate(0.99, 0.5) == priors.HIGHEST_MISSING


def test_the_true_counts_give_the_missing_rate_where_nothing_is_a_candidate():
    states = np.array([[0, 0], [4, 2], [0, 0], [6, 8]])
    found = priors.oracle_prior(np.array([5, 3]), 10, states)
    assert float(found.missing_rate) == pytest.approx(2 / 8) and found.true_counts and float(found.flip_rate) == 0
    guess = priors.estimated_prior(np.array([4, 2]), 10, states, empty=5)
    assert float(guess.missing_rate) == pytest.approx(priors.estimate_missing_rate(0.5, 0.6)) and not guess.true_counts
    np.testing.assert_array_equal(guess.class_count, [4, 2])


def test_the_estimate_carries_its_flip_rate_and_the_error_of_its_counts():
    columns = sums(candidate_sets(long_tail(0), 0.3, 0))
    found, rate = priors.estimated_prior(*columns), priors.estimate_flip_rate(*columns)
    assert float(found.flip_rate) == pytest.approx(rate)
    assert float(found.count_error) == pytest.approx(np.sqrt(N * rate / (1 - rate))) and found.state_count is None


def test_oracle_prior_does_not_overflow_int8():
    prior = priors.oracle_prior(*sums(np.ones((70_000, 2), np.int8)))
    np.testing.assert_array_equal(prior.class_count, [70_000, 70_000])


def annotated(seed: int, doubt: float, flips: float, unknown: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """State counts [4, C] of long-tailed labels, of which a share of the images is in doubt; true counts where seen."""
    rng = np.random.default_rng(seed)
    labels = long_tail(seed).astype(bool)
    states = labels.astype(np.int8)
    states[(rng.random((N, 1)) < doubt) & (labels | (rng.random(labels.shape) < flips))] = 2
    states[rng.random(labels.shape) < unknown] = 3
    return np.stack([(states == state).sum(0) for state in range(4)]), (labels & (states != 3)).sum(0)


@pytest.mark.parametrize(("doubt", "flips"), [(0.3, 0.2), (0.3, 0.0), (0.7, 0.3), (0.95, 0.3)])
def test_known_positives_say_how_many_candidates_are_true(doubt, flips):
    states, truth = annotated(0, doubt, flips)
    rate, counts = priors.counts_beside_known(states)
    assert rate == pytest.approx(doubt * flips, abs=0.01)
    assert (counts >= states[1]).all() and (counts <= states[1] + states[2]).all()
    spread = np.sqrt(N * rate * (1 - rate)) / (1 - rate)  # of the flips alone
    assert (np.abs(counts - truth) < 4 * spread + 0.02 * truth + 1).all()
    np.testing.assert_allclose(counts.sum(), truth.sum(), rtol=0.1)


def test_four_frequent_classes_of_which_a_third_is_in_doubt():
    """Where the long tail alone is far off: it has no rare class to read the flips from."""
    rng = np.random.default_rng(1)
    labels = rng.random((480, 4)) < (0.6, 0.45, 0.3, 0.15)
    states = labels.astype(np.int8)
    states[(rng.random((480, 1)) < 0.3) & (labels | (rng.random((480, 4)) < 0.2))] = 2
    table = np.stack([(states == state).sum(0) for state in range(4)])
    prior = priors.estimated_prior(table[1] + table[2], 480, table)
    np.testing.assert_allclose(prior.class_count, labels.sum(0), rtol=0.1)
    tail = priors.unbiased_counts(table[1] + table[2], 480, priors.estimate_flip_rate(table[1] + table[2], 480))
    assert tail[-1] < 0.6 * labels[:, -1].sum()


def test_few_known_labels_leave_the_flip_rate_to_the_long_tail():
    candidates = candidate_sets(long_tail(0), 0.3, 0)
    table = np.stack([(candidates == 0).sum(0), np.zeros(C, int), (candidates == 1).sum(0), np.zeros(C, int)])
    assert not table[1].any()
    table[:, 0] += (0, 3, -3, 0)  # three of the candidates are known to be true
    rate, counts = priors.counts_beside_known(table)
    assert rate == pytest.approx(priors.estimate_flip_rate(candidates.sum(0, dtype=np.int64), N), abs=0.002)
    assert (counts >= table[1]).all()


def test_candidates_alone_are_counted_as_before_whatever_is_known_of_states():
    columns, n = sums(candidate_sets(long_tail(0), 0.3, 0))
    states = np.stack([n - columns, 0 * columns, columns, 0 * columns])
    plain, told = priors.estimated_prior(columns, n), priors.estimated_prior(columns, n, states)
    np.testing.assert_array_equal(plain.class_count, told.class_count)
    assert plain.flip_rate == told.flip_rate


def test_the_share_of_all_images_counts_those_whose_label_is_unknown():
    """Of 100 images 20 have no label of the first class; nothing is known of the second but that it is not missing."""
    states = np.array([[40, 0], [40, 60], [0, 0], [20, 40]])
    prior = priors.estimated_prior(np.array([40, 60]), 100, states)
    np.testing.assert_allclose(priors.expected_shares(prior), [0.4 / 0.8, 0.6], rtol=1e-6)
    oracle = priors.oracle_prior(np.array([50, 60]), 100, states)
    np.testing.assert_allclose(priors.expected_shares(oracle), [0.5, 0.6], rtol=1e-6)


def test_labels_that_are_all_unknown_or_all_candidates_give_finite_counts():
    states = np.array([[0, 0, 80], [0, 0, 20], [0, 100, 0], [100, 0, 0]])
    prior = priors.estimated_prior(states[1] + states[2], 100, states)
    assert np.isfinite(prior.class_count).all() and (np.asarray(prior.class_count) >= 1).all()
    assert np.isfinite(prior.flip_rate) and np.isfinite(prior.count_error)
