"""The legacy generator is frozen, so what it draws is compared with loops over its first numbers."""

import numpy as np
import pytest

from ltpml_jax.data import published_corruption as published
from ltpml_jax.data.labels import LabelState
from tests.helpers.labels import check_seeded

LABELS = (np.random.default_rng(0).random((80, 9)) < 0.3).astype(np.int8)
LABELS[7] = 0
LABELS[11] = 1
LABELS.flags.writeable = False
MAKE = {
    "spml": lambda labels, seed: published.spml_single_positive(labels, seed),
    "hcp": lambda labels, seed: published.hcp_proportion(labels, 0.4, seed),
    "ndlp": lambda labels, seed: published.ndlp_candidates(labels, 0.3, seed),
}


def plain_shuffle(rng: np.random.RandomState, items: list[int]) -> list[int]:
    """Fisher-Yates from the end, each place drawn by rejection of 32 random bits under the smallest mask."""
    for last in range(len(items) - 1, 0, -1):
        mask = (1 << last.bit_length()) - 1
        place = last + 1
        while place > last:
            place = int(rng.randint(0, 2**32, dtype=np.uint32)) & mask
        items[last], items[place] = items[place], items[last]
    return items


def test_single_positives_are_those_of_plain_shuffles():
    rng, want = np.random.RandomState(1200), np.full(LABELS.shape, LabelState.UNKNOWN)
    for row, image in enumerate(LABELS.tolist()):
        present = plain_shuffle(rng, [j for j, label in enumerate(image) if label])
        plain_shuffle(rng, [j for j, label in enumerate(image) if not label])
        want[row, present[:1]] = LabelState.POSITIVE
    np.testing.assert_array_equal(published.spml_single_positive(LABELS), want)
    assert not (want[7] == LabelState.POSITIVE).any() and (want[11] == LabelState.POSITIVE).sum() == 1


def test_every_label_is_kept_with_the_share():
    draws = np.random.RandomState(0).random_sample(LABELS.size)
    want = [label if draw < 0.4 else LabelState.UNKNOWN for label, draw in zip(LABELS.ravel(), draws, strict=True)]
    np.testing.assert_array_equal(published.hcp_proportion(LABELS, 0.4).ravel(), want)
    np.testing.assert_array_equal(published.hcp_proportion(LABELS, 1.0), LABELS)


def test_negatives_become_candidates_with_the_rate():
    draws = np.random.RandomState(5).random_sample(LABELS.size)
    want = [LabelState.CANDIDATE * int(label or draw < 0.3) for label, draw in zip(LABELS.ravel(), draws, strict=True)]
    np.testing.assert_array_equal(published.ndlp_candidates(LABELS, 0.3, 5).ravel(), want)
    np.testing.assert_array_equal(published.ndlp_candidates(LABELS, 0.0) != 0, LABELS != 0)


@pytest.mark.parametrize("kind", MAKE)
def test_a_table_follows_from_its_seed_and_leaves_the_labels_alone(kind):
    check_seeded(MAKE[kind], LABELS)
