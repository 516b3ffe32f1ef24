"""Stratified splits: nothing lost, nothing double, every class in proportion and in training, one permanent hash."""

import hashlib
import time

import numpy as np
import pytest

from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.readers import stratify
from ltpml_jax.errors import UserError

NO, YES, MAYBE, UNKNOWN = 0, 1, 2, 3


def _listing(states: np.ndarray) -> Listing:
    names = [f"{row}" for row in range(len(states))]
    classes = tuple(f"c{number}" for number in range(states.shape[1]))
    return Listing(classes, {"train": ListedSplit(names, [f"/{name}.jpg" for name in names], states)}, notes=["old"])


def _long_tailed(n: int, c: int, seed: int = 0) -> np.ndarray:
    """Labels whose classes have from 30% of n images down to a handful."""
    rates = 0.3 * np.arange(1, c + 1.0) ** -1.5
    return (np.random.default_rng(seed).random((n, c)) < rates).astype(np.int8)


def _sizes(listing: Listing) -> dict[str, int]:
    return {name: len(split.ids) for name, split in listing.splits.items()}


def test_splits_are_disjoint_complete_in_order_and_of_the_size_asked_for():
    states = _long_tailed(1003, 12)
    listing = stratify.split(_listing(states), test_share=0.2, validation_share=0.1, seed=3)
    assert _sizes(listing) == {"train": 702, "test": 201, "validation": 100}
    rows = [np.array(split.ids, int) for split in listing.splits.values()]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(1003))
    for split, kept in zip(listing.splits.values(), rows, strict=True):
        assert (np.diff(kept) > 0).all() and split.paths == [f"/{row}.jpg" for row in kept]
        np.testing.assert_array_equal(split.states, states[kept])
    assert listing.notes == [
        "old",
        "201 images were set apart for test, stratified by class, seed 3.",
        "100 images were set apart for validation, stratified by class, seed 3.",
    ]


def test_what_annotators_disagree_on_goes_with_its_images():
    states = _long_tailed(50, 4)
    said = np.column_stack([np.arange(0, 50, 3), np.arange(17) % 4, np.full((17, 2), 1)])
    train = ListedSplit([f"{row}" for row in range(50)], [f"/{row}.jpg" for row in range(50)], states, said)
    listing = stratify.split(
        Listing(("a", "b", "c", "d"), {"train": train}), test_share=0.3, validation_share=0, seed=1
    )
    found = [
        [int(split.ids[row]), *rest] for split in listing.splits.values() for row, *rest in split.disagreements.tolist()
    ]
    assert sorted(found) == said.tolist() and len(listing.splits["test"].disagreements)


def test_every_class_has_its_share_within_one_image_where_random_splits_are_far_off():
    states = _long_tailed(5000, 40)
    wanted = 0.2 * states.sum(0)
    stratified = stratify.split(_listing(states), 0.2, 0.0, seed=0).splits["test"].states.sum(0)
    at_random = states[np.random.default_rng(0).permutation(5000)[:1000]].sum(0)
    assert abs(stratified - wanted).max() <= 1
    assert abs(at_random - wanted).max() > 5


def test_candidates_count_as_their_share():
    states = _long_tailed(5000, 40)
    states[(np.random.default_rng(1).random(states.shape) < 0.05) & (states == NO)] = MAYBE
    states[(np.random.default_rng(2).random(states.shape) < 0.05) & (states == NO)] = UNKNOWN
    weights = (states == YES) + (states == MAYBE) / np.maximum((states == MAYBE).sum(1, keepdims=True), 1)
    held = stratify.assign(states, [4000, 1000], seed=0) == 1
    at_random = np.random.default_rng(0).permutation(5000) < 1000
    error, random_error = (abs(weights[rows].sum(0) - 0.2 * weights.sum(0)) for rows in (held, at_random))
    assert error.max() < 5 and error.mean() < random_error.mean() / 4


@pytest.mark.parametrize("seed", range(20))
def test_training_keeps_every_class(seed):
    generator = np.random.default_rng(seed)
    states = (generator.random((40, 25)) < 0.06).astype(np.int8)
    states[:, :3] = 0
    states[generator.integers(0, 40, 3), [0, 1, 2]] = [YES, YES, MAYBE]
    listing = stratify.split(_listing(states), 0.4, 0.3, seed)
    assert sum(_sizes(listing).values()) == 40
    train, there = listing.splits["train"].states, (states == YES).any(0)
    assert (train == YES).any(0)[there].all()
    assert (train == MAYBE)[:, 2].any() or there[2]


def test_a_test_split_gives_way_to_the_last_training_image_of_a_class():
    states = np.eye(10, dtype=np.int8)
    listing = stratify.split(_listing(np.concatenate([states, np.zeros((2, 10), np.int8)])), 0.5, 0.0, seed=0)
    assert _sizes(listing) == {"train": 10, "test": 2}
    with pytest.raises(UserError, match="Every image is the last one of some class: none is left for test"):
        stratify.split(_listing(states), 0.5, 0.0, seed=0)


def test_images_without_labels_fill_up_the_splits():
    listing = stratify.split(_listing(np.full((10, 3), UNKNOWN, np.int8)), 0.3, 0.2, seed=0)
    assert _sizes(listing) == {"train": 5, "test": 3, "validation": 2}


def test_the_split_follows_the_seed_and_is_pinned():
    rows, columns = np.indices((300, 9))
    states = np.where((rows * 7 + columns * 5) % (columns + 3) == 0, YES, NO).astype(np.int8)
    states[::7, 3] = MAYBE
    states[::5, 4] = UNKNOWN
    homes = stratify.assign(states, [210, 60, 30], seed=5)
    np.testing.assert_array_equal(homes, stratify.assign(states, [210, 60, 30], seed=5))
    assert (homes != stratify.assign(states, [210, 60, 30], seed=6)).any()
    digest = hashlib.sha256(homes.astype(np.int8).tobytes()).hexdigest()
    assert digest == "1cabce05dc1df96bd5a4f710807687c62c2ab0bb08d73662a0fd7e0cd06ce663"


def test_only_splits_that_are_missing_are_made():
    listing = stratify.split(_listing(_long_tailed(100, 3)), 0.0, 0.25, seed=0)
    assert _sizes(listing) == {"train": 75, "validation": 25}
    assert _sizes(stratify.split(listing, 0.2, 0.0, seed=0)) == {"train": 60, "validation": 25, "test": 15}
    same = stratify.split(listing, 0.0, 0.0, seed=0)
    assert _sizes(same) == _sizes(listing) and same.notes == listing.notes
    with pytest.raises(UserError, match="a split validation of its own; leave --validation_share out"):
        stratify.split(listing, 0.0, 0.1, seed=0)


@pytest.mark.parametrize(
    ("shares", "sentence"),
    [
        ((1.0, 0.0), "--test_share is 1.0; set it"),
        ((float("nan"), 0.0), "--test_share is nan"),
        ((0.0, -0.1), "--validation_share is -0.1"),
        ((0.6, 0.4), "leave no image to train on"),
        ((0.04, 0.0), "--test_share of 0.04 takes none of 10 images"),
    ],
)
def test_impossible_shares_are_named(shares, sentence):
    with pytest.raises(UserError, match=sentence):
        stratify.split(_listing(_long_tailed(10, 3)), *shares, seed=0)


def test_fifty_thousand_images_of_eighty_classes_take_seconds():
    states = _long_tailed(50_000, 80)
    states[np.random.default_rng(1).random(states.shape) < 0.3] = MAYBE
    start = time.perf_counter()
    stratify.assign(states, [40_000, 10_000], seed=0)
    assert time.perf_counter() - start < 10
