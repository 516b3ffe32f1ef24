"""What several annotators of one image come to: labels, and where they disagree."""

import numpy as np

from ltpml_jax.data.readers import annotators

NO, YES, MAYBE, UNKNOWN = 0, 1, 2, 3


def test_the_order_of_annotators_makes_no_difference():
    generator = np.random.default_rng(0)
    states = generator.integers(0, 4, (60, 5)).astype(np.int8)
    images = np.repeat(np.arange(20), 3)
    merged = annotators.merge(images, states)
    order = generator.permutation(60)
    np.testing.assert_array_equal(annotators.merge(images[order], states[order]), merged)
    for image in range(20):
        for number in range(5):
            judged = set(states[images == image, number].tolist()) - {UNKNOWN}
            assert merged[image, number] == (judged.pop() if len(judged) == 1 else MAYBE if judged else UNKNOWN)


def test_disagreements_are_those_of_plain_loops_in_any_order():
    generator = np.random.default_rng(1)
    states = generator.integers(0, 4, (90, 6)).astype(np.int8)
    images = generator.permutation(np.repeat(np.arange(30), 3))
    expected = []
    for image in range(30):
        for number in range(6):
            said = states[images == image, number].tolist()
            if YES in said and NO in said:
                expected.append([image, number, said.count(YES), said.count(NO)])
    found = annotators.disagreements(images, states)
    assert found.dtype == np.int64 and found.tolist() == expected and len(expected) > 20
    order = generator.permutation(90)
    np.testing.assert_array_equal(annotators.disagreements(images[order], states[order]), found)
    merged = annotators.merge(images, states)
    assert (merged[found[:, 0], found[:, 1]] == MAYBE).all()


def test_who_is_not_sure_or_did_not_look_disagrees_with_nobody():
    states = np.array([[YES, NO, MAYBE, YES, UNKNOWN], [MAYBE, MAYBE, MAYBE, UNKNOWN, NO]], np.int8)
    found = annotators.disagreements(np.array([0, 0]), states)
    assert found.shape == (0, 4) and found.dtype == np.int64
