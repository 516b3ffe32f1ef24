"""Candidate sets: what must hold for every label matrix, and one hash for ever."""

import math

import numpy as np
import pytest

from ltpml_jax.data import candidates
from ltpml_jax.errors import UserError


def _labels(n: int = 50, c: int = 7) -> np.ndarray:
    rows, columns = np.indices((n, c))
    return ((rows * 3 + columns * 5) % 7 == 0).astype(np.int8)


def test_every_true_label_is_a_candidate_and_the_input_stays():
    labels = _labels()
    before = labels.copy()
    table = candidates.draw_candidates(labels, 0.3, seed=1)
    assert table.dtype == np.int8 and set(np.unique(table)) == {0, 1}
    assert (table[labels == 1] == 1).all()
    np.testing.assert_array_equal(labels, before)
    assert table is not labels


def test_partial_rate_zero_gives_the_labels():
    np.testing.assert_array_equal(candidates.draw_candidates(_labels(), 0.0, seed=3), _labels())


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5])
def test_negatives_flip_at_the_partial_rate(rate):
    labels = _labels(500, 20)
    negatives = (labels == 0).sum()
    drawn = np.stack([candidates.draw_candidates(labels, rate, seed) for seed in range(10)])
    flips = (drawn - labels).sum()
    standard_error = math.sqrt(10 * negatives * rate * (1 - rate))
    assert abs(flips - 10 * negatives * rate) < 4 * standard_error


def test_flips_are_independent_between_neighbouring_classes_and_samples():
    table = candidates.draw_candidates(np.zeros((20000, 2), np.int8), 0.3, seed=0).astype(float)
    standard_error = 1 / math.sqrt(20000)
    assert abs(np.corrcoef(table[:, 0], table[:, 1])[0, 1]) < 4 * standard_error
    assert abs(np.corrcoef(table[:-1, 0], table[1:, 0])[0, 1]) < 4 * standard_error


def test_the_draw_is_pinned():
    table = candidates.draw_candidates(_labels(), 0.3, seed=42)
    assert candidates.digest(table) == "368bb37a99a0aba373e376530534cc1b6ca4e95ad14afb3b572560d7bdb45e86"
    assert candidates.digest(candidates.draw_candidates(_labels(), 0.3, seed=43)) != candidates.digest(table)


def test_a_higher_rate_only_adds_candidates():
    low, high = (candidates.draw_candidates(_labels(), rate, seed=5) for rate in (0.1, 0.4))
    assert (high >= low).all() and high.sum() > low.sum()


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, math.nan, math.inf])
def test_a_bad_partial_rate_is_a_user_error(rate):
    with pytest.raises(UserError, match="partial rate"):
        candidates.draw_candidates(_labels(), rate, seed=0)


def test_digest_hangs_on_entries_and_shape_but_not_on_dtype_or_layout():
    table = _labels()
    assert candidates.digest(table) == candidates.digest(np.asfortranarray(table.astype(np.int64)))
    assert candidates.digest(table) != candidates.digest(table.reshape(7, 50))
    changed = table.copy()
    changed[3, 2] ^= 1
    assert candidates.digest(table) != candidates.digest(changed)


def test_split_validation_parts_the_rows():
    train, held = candidates.split_validation(101, 0.2, seed=0)
    assert len(held) == 20 and train.dtype == held.dtype == np.int64
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held])), np.arange(101))
    assert (np.diff(train) > 0).all() and (np.diff(held) > 0).all()
    np.testing.assert_array_equal(held, candidates.split_validation(101, 0.2, seed=0)[1])
    assert not np.array_equal(held, candidates.split_validation(101, 0.2, seed=1)[1])


def test_split_validation_of_nothing_and_of_everything():
    train, held = candidates.split_validation(10, 0.0, seed=0)
    assert len(held) == 0
    np.testing.assert_array_equal(train, np.arange(10))
    for fraction in (-0.1, 1.0, math.nan, 0.99):
        with pytest.raises(UserError, match="validation fraction"):
            candidates.split_validation(10, fraction, seed=0)
