"""Label states: counts and groups by hand."""

import numpy as np

from ltpml_jax.data.labels import LabelState, class_counts, class_groups, is_clean


def test_an_image_s_candidates_share_one_positive_and_unknown_ones_count_nothing():
    states = np.array([[1, 2, 2], [0, 3, 2], [1, 1, 0], [3, 3, 3]], np.int8)
    np.testing.assert_allclose(class_counts(states), [2, 0.5 + 1, 0.5 + 1])


def test_counts_of_clean_labels_are_column_sums():
    states = np.array([[1, 0], [1, 1], [0, 0]], np.int8)
    np.testing.assert_array_equal(class_counts(states), [2, 1])


def test_only_known_labels_are_clean():
    assert is_clean(np.array([[0, 1]], np.int8))
    assert not is_clean(np.array([[0, 1], [0, LabelState.CANDIDATE]], np.int8))
    assert not is_clean(np.array([[LabelState.UNKNOWN]], np.int8))


def test_class_groups_at_their_borders():
    groups = class_groups(np.array([100, 99, 20, 19, 0, 560]))
    assert {name: np.flatnonzero(mask).tolist() for name, mask in groups.items()} == {
        "head": [0, 5],
        "medium": [1, 2],
        "tail": [3, 4],
    }
