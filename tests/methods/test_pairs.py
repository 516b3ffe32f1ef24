import jax
import numpy as np
import pytest
from scipy.special import expit

from ltpml_jax.methods import pairs
from ltpml_jax.state import batch_sharding, make_mesh
from tests.helpers.compiled import Compiled, compiled

pairs = Compiled(pairs)


def test_smallest_of_some_by_hand():
    values = np.float32([[3, 1, 1], [0, 2, -1]])
    among = np.array([[True, True, True], [False, True, False]])
    for count, places in {0: [], 1: [1], 2: [1, 2], 3: [1, 2, 4], 9: [0, 1, 2, 4]}.items():
        assert np.flatnonzero(pairs.smallest(values, among, count)).tolist() == places


def test_of_many_equal_values_the_lower_indices_come_first():
    picked = pairs.smallest(np.zeros((40, 30), np.float32), np.ones((40, 30), bool), 700)
    np.testing.assert_array_equal(np.asarray(picked).ravel(), np.arange(1200) < 700)


def test_infinite_values_outside_do_not_take_a_place():
    picked = pairs.smallest(np.float32([np.inf, 1, 5]), np.array([True, False, True]), 2)
    np.testing.assert_array_equal(picked, [True, False, True])


def test_the_ranking_is_that_of_the_whole_batch_on_any_number_of_devices():
    """The first half of the batch has the larger values: by device, another half of each would be chosen."""
    values = np.random.default_rng(0).normal(size=(16, 5)).astype(np.float32)
    values[:8] += 10
    among = values > -1.5
    want = np.asarray(pairs.smallest(values, among, 20))
    assert want.sum() == 20 and not want[:8].any()
    placed = jax.device_put((values, among), batch_sharding(make_mesh(jax.devices()[:8])))
    np.testing.assert_array_equal(jax.jit(pairs.smallest, static_argnums=2)(*placed, 20), want)


@pytest.mark.parametrize(
    ("total", "removed", "left"),
    [(207, 0.05, 196), (196, 0.1, 176), (24, 0.2, 19), (10, 0.3, 7), (10, 0.9, 1), (9600, 0.005, 9552), (1, 0.2, 0)],
)
def test_what_remains_by_hand(total, removed, left):
    assert int(pairs.remaining(total, removed)) == left


@pytest.mark.parametrize("total", [0, 1, 7, 12345, 3_000_000])
def test_nothing_removed_leaves_all(total):
    assert int(pairs.remaining(total, 0.0)) == total


def test_products_that_are_whole_numbers_are_exact_in_float32():
    remaining = jax.jit(pairs.remaining)
    for total in range(100, 20_001, 100):
        for percent in (1, 2, 5, 6, 10, 20, 30, 70):
            assert int(remaining(total, np.float32(percent / 100))) == total - total * percent // 100


def test_the_ensemble_is_the_mean_probability():
    first, second = (np.random.default_rng(seed).normal(0, 3, (6, 4)).astype(np.float32) for seed in (0, 1))
    mean = (expit(first) + expit(second)) / 2
    np.testing.assert_allclose(expit(pairs.mean_probability(first, second)), mean, rtol=1e-5)
    assert list(pairs.PREDICTIONS) == ["ensemble", "first", "second"]
    outputs = {name: compiled(choose)((first, second)) for name, choose in pairs.PREDICTIONS.items()}
    np.testing.assert_array_equal(outputs["first"], first)
    np.testing.assert_array_equal(outputs["second"], second)
    np.testing.assert_allclose(expit(outputs["ensemble"]), mean, rtol=1e-5)


def test_the_ensemble_of_far_logits_is_finite():
    """Where one network is sure and the other is not, the mean is near 1/2 of the surer one: log(p / 2)."""
    got = pairs.mean_probability(np.float32([200, -300, 500, -40]), np.float32([200, -300, -500, -1000]))
    np.testing.assert_allclose(got, [200, -300, 0, -40 - np.log(2)], rtol=1e-6, atol=1e-6)
