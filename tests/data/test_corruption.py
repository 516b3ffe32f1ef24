"""Rates are compared with their expectation over 20 seeds, within 4 standard errors."""

import math

import numpy as np
import pytest

from ltpml_jax.data import corruption
from ltpml_jax.data.candidates import LabelRows
from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.manifest import digest
from ltpml_jax.errors import UserError
from tests.helpers.labels import check_seeded

NEGATIVE, POSITIVE, CANDIDATE, UNKNOWN = LabelState
SEEDS = range(20)
# 400 images of 5 classes with 300, 100, 30, 10 and 3 positives; the last 100 images have none.
LABELS = np.zeros((400, 5), np.int8)
for _column, _count in enumerate((300, 100, 30, 10, 3)):
    LABELS[:_count, _column] = POSITIVE
LABELS.flags.writeable = False
TRUE = LABELS == POSITIVE
MAKE = {
    "partial": lambda labels, seed: corruption.partial(labels, 0.3, seed),
    "tail_biased": lambda labels, seed: corruption.tail_biased(labels, 0.3, seed),
    "missing": lambda labels, seed: corruption.missing(labels, 0.4, seed, keep_one=False),
    "missing, keep one": lambda labels, seed: corruption.missing(labels, 0.4, seed, keep_one=True),
    "keep": lambda labels, seed: corruption.keep(labels, 0.2, seed),
    "single": corruption.single,
}
GOLDEN = {
    "partial": "931b16bc7f2407136656a271db8a530fd6bee46daf25e259d4cb6598fe311743",
    "tail_biased": "1f1eaf4ed681dcf8fdd3d1a1a1fcf1f132714fdcdc988522eea7c2e4e24ddea7",
    "missing": "1fb58b415a53dfc2632da7cf7575cc9e541923bce30f17576a04ce697d1687b8",
    "missing, keep one": "6f76b7e8aba1c4f286e227a0fd9332e81fce08bda183a09c6fbecef71dea23f4",
    "keep": "f2023982be8715ca465c93fce7e62a766fcdadba12a156cd355c51a1d8c8653a",
    "single": "75b6a989d4432e99d0a2b8e1f637728d0fa7b285cfab3496559e2c1c32e66865",
}


def assert_rate(hits: np.ndarray, expected: float) -> None:
    """Independent trials, all seeds together."""
    error = math.sqrt(expected * (1 - expected) / hits.size)
    assert abs(hits.mean() - expected) <= 4 * error, (hits.mean(), expected, error)


def over_seeds(kind: str) -> np.ndarray:
    return np.array([MAKE[kind](LABELS, seed) for seed in SEEDS])


@pytest.mark.parametrize("kind", MAKE)
def test_tables_are_the_same_on_every_machine(kind):
    assert digest(MAKE[kind](LABELS, 7)) == GOLDEN[kind]


@pytest.mark.parametrize("kind", MAKE)
def test_a_table_follows_from_its_seed_and_leaves_the_labels_alone(kind):
    check_seeded(MAKE[kind], LABELS)


@pytest.mark.parametrize("kind", sorted(MAKE.keys() - {"tail_biased"}))  # whose rates are those of the classes' counts
def test_a_row_does_not_depend_on_the_labels_of_other_rows(kind):
    changed = LABELS.copy()
    changed[1:] = NEGATIVE
    assert (MAKE[kind](changed, 3)[0] == MAKE[kind](LABELS, 3)[0]).all()


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.95])
def test_partial_marks_the_candidates_that_a_run_draws(rate):
    for seed in SEEDS:
        drawn = LabelRows(LABELS, np.arange(len(LABELS)), "candidate", rate, seed)[:]
        assert ((corruption.partial(LABELS, rate, seed) != NEGATIVE) == (drawn != NEGATIVE)).all()


@pytest.mark.parametrize("kind", ["partial", "tail_biased"])
def test_candidates_hold_all_positives_and_do_not_tell_which(kind):
    tables = over_seeds(kind)
    assert set(np.unique(tables)) == {NEGATIVE, CANDIDATE}
    assert (tables[:, TRUE] == CANDIDATE).all()


def test_partial_flips_negatives_of_every_class_at_its_rate():
    flipped = over_seeds("partial") == CANDIDATE
    assert_rate(flipped[:, ~TRUE], 0.3)
    for column in range(5):
        assert_rate(flipped[:, ~TRUE[:, column], column], 0.3)


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.5, 0.95, 0.999])
def test_tail_biased_rates_rise_towards_the_tail_and_keep_their_mean(rate):
    rates, negatives = corruption.tail_biased_rates(LABELS, rate), (~TRUE).sum(0)
    assert (np.diff(rates) > 0).all() and rates.min() > 0 and rates.max() < 1
    assert rates @ negatives == pytest.approx(rate * negatives.sum(), rel=1e-12)
    odds = rates / (1 - rates)
    assert odds / odds[-1] == pytest.approx(np.sqrt(4 / (TRUE.sum(0) + 1)), rel=1e-6)


def test_tail_biased_flips_negatives_at_the_rates_it_names():
    flipped, rates = over_seeds("tail_biased") == CANDIDATE, corruption.tail_biased_rates(LABELS, 0.3)
    for column in range(5):
        assert_rate(flipped[:, ~TRUE[:, column], column], rates[column])
    negatives = (~TRUE).sum(0)
    spread = math.sqrt((rates * (1 - rates)) @ negatives * len(SEEDS)) / (negatives.sum() * len(SEEDS))
    assert abs(flipped[:, ~TRUE].mean() - 0.3) <= 4 * spread


def test_tail_biased_can_do_nothing_and_copes_with_classes_of_one_kind():
    assert not corruption.tail_biased_rates(LABELS, 0.0).any()
    full = np.ones((3, 2), np.int8)
    assert (corruption.tail_biased(full, 0.3, 0) == CANDIDATE).all()
    empty = corruption.tail_biased_rates(np.zeros((3, 2), np.int8), 0.3)
    assert empty == pytest.approx([0.3, 0.3])


@pytest.mark.parametrize("kind", ["missing", "missing, keep one", "single"])
def test_a_positive_that_was_dropped_looks_like_a_negative(kind):
    tables = over_seeds(kind)
    assert set(np.unique(tables)) == {POSITIVE, UNKNOWN}
    assert (tables[:, ~TRUE] == UNKNOWN).all()


def test_missing_drops_positives_at_its_ratio():
    dropped = over_seeds("missing") == UNKNOWN
    assert_rate(dropped[:, TRUE], 0.4)
    for column in range(5):
        assert_rate(dropped[:, TRUE[:, column], column], 0.4)


def test_missing_keeps_one_positive_of_an_image_that_has_any():
    tables = over_seeds("missing, keep one")
    has_any = TRUE.any(1)
    assert (tables[:, has_any] == POSITIVE).any(2).all()
    assert (tables[:, ~has_any] == UNKNOWN).all()
    without = over_seeds("missing")
    assert (tables[without == POSITIVE] == POSITIVE).all()
    rescued = (without[:, has_any] == UNKNOWN).all(2)
    assert ((tables == POSITIVE).sum(2)[:, has_any][rescued] == 1).all()


@pytest.mark.parametrize("positives", [1, 2, 3])
def test_missing_with_one_kept_drops_what_it_says(positives):
    labels = np.zeros((300, 4), np.int8)
    labels[:, :positives] = POSITIVE
    for column in range(positives):
        dropped = [corruption.missing(labels, 0.6, seed, keep_one=True)[:, column] == UNKNOWN for seed in SEEDS]
        assert_rate(np.array(dropped), 0.6 - 0.6**positives / positives)


def test_keep_leaves_a_share_of_positives_and_of_negatives():
    tables = over_seeds("keep")
    known = tables != UNKNOWN
    assert_rate(known[:, TRUE], 0.2)
    assert_rate(known[:, ~TRUE], 0.2)
    assert (tables == np.where(known, LABELS, UNKNOWN)).all()
    assert (corruption.keep(LABELS, 1.0, 0) == LABELS).all()


def test_single_leaves_one_positive_of_each_image_any_of_them_alike():
    tables = over_seeds("single")
    assert ((tables == POSITIVE).sum(2) == TRUE.any(1)).all()
    two = np.zeros((500, 3), np.int8)
    two[:, 1:] = POSITIVE
    first = np.array([corruption.single(two, seed)[:, 1] == POSITIVE for seed in SEEDS])
    assert_rate(first, 0.5)


def test_streams_of_two_kinds_are_independent():
    labels = np.ones((200, 50), np.int8)
    dropped = corruption.missing(labels, 0.5, 3, keep_one=False) == UNKNOWN
    left = corruption.keep(labels, 0.5, 3) != UNKNOWN
    flipped = corruption.partial(0 * labels, 0.5, 3) == CANDIDATE
    for one, other in ((dropped, left), (dropped, flipped), (left, flipped)):
        assert_rate(one == other, 0.5)


@pytest.mark.parametrize("bad", [-0.1, 1.0, 2.0, float("nan"), float("inf")])
def test_rates_out_of_range_are_refused(bad):
    for make in (corruption.partial, corruption.tail_biased):
        with pytest.raises(UserError, match=f"the partial rate is {bad}; set it to at least 0 and below 1"):
            make(LABELS, bad, 0)
    with pytest.raises(UserError, match=f"the ratio of missing positives is {bad}; "):
        corruption.missing(LABELS, bad, 0, keep_one=True)


@pytest.mark.parametrize("bad", [0.0, -1.0, 1.1, float("nan")])
def test_shares_out_of_range_are_refused(bad):
    with pytest.raises(UserError, match=f"the share of labels left is {bad}; set it above 0"):
        corruption.keep(LABELS, bad, 0)


@pytest.mark.parametrize("kind", MAKE)
def test_seeds_out_of_range_and_labels_that_are_not_clean_are_refused(kind):
    with pytest.raises(UserError, match="the seed is -1; "):
        MAKE[kind](LABELS, -1)
    for state in (CANDIDATE, UNKNOWN):
        labels = LABELS.copy()
        labels[0, 0] = state
        with pytest.raises(UserError, match="candidates or unknown already; corruption starts from clean labels"):
            MAKE[kind](labels, 0)
