"""What several annotators of one image come to: labels."""

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
