import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltpml_jax.methods import coteaching
from ltpml_jax.methods.base import Method, Plan
from ltpml_jax.methods.coteaching import CoteachingPlusSettings, JoCoRSettings, SmallLossSettings
from tests.helpers.compiled import Compiled, compiled, value_and_gradient
from tests.helpers.contexts import answers, context

coteaching = Compiled(coteaching)

PLAN = Plan(20, 16)
SMALL = SmallLossSettings(forget_rate=0.4, ramp_epochs=5)
LATE = 8  # an epoch with the whole forget rate


def data(seed: int, rows: int = 16, classes: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of two networks, and states."""
    rng = np.random.default_rng(seed)
    return *rng.normal(0, 2, (2, rows, classes)), (rng.random((rows, classes)) < 0.3).astype(np.int8) * 2


def plain_bce(logits: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Mean cross-entropy of each image, from probabilities."""
    probability = 1 / (1 + np.exp(-logits))
    return -np.where(states > 0, np.log(probability), np.log(1 - probability)).mean(1)


def step(method: Method, logits, states, epoch: int, steps: int = 0):
    """Loss, gradients with respect to both networks' logits, and metrics."""
    given = context(states, epoch, jnp.int32(steps))

    def loss(logits):
        value, (carry, _) = method.passes[0].loss(answers(logits), given, None)
        return value, carry

    (value, carry), grads = value_and_gradient(loss, has_aux=True)(tuple(map(jnp.asarray, logits)))
    return value, grads, compiled(method.update)(given, carry)


def test_the_forget_rate_is_the_published_schedule():
    rates = [float(coteaching.forget_rate(SmallLossSettings(0.2, 10), epoch)) for epoch in range(14)]
    np.testing.assert_allclose(rates, [*np.linspace(0, 0.2, 10), *[0.2] * 4], rtol=1e-6)
    rates = [float(coteaching.forget_rate(SmallLossSettings(0.2, 1), epoch)) for epoch in range(3)]
    np.testing.assert_allclose(rates, [0, 0.2, 0.2], rtol=1e-6)


@pytest.mark.parametrize("epoch", [0, 2, LATE])
def test_each_network_learns_from_what_the_other_finds_easy(epoch):
    first, second, states = data(epoch)
    value, grads, (steps, _, metrics) = step(coteaching.coteaching(SMALL, PLAN), (first, second), states, epoch)
    own, other = plain_bce(first, states), plain_bce(second, states)
    count = int((1 - min(epoch / 4, 1) * 0.4) * 16 + 1e-6)
    for_first, for_second = np.argsort(other)[:count], np.argsort(own)[:count]
    np.testing.assert_allclose(value, own[for_first].mean() + other[for_second].mean(), rtol=1e-5)
    for grad, chosen in zip(grads, (for_first, for_second), strict=True):
        assert set(np.flatnonzero(np.abs(grad).sum(1))) == set(chosen)
    assert int(metrics["selected_by_both"]) == len(set(for_first) & set(for_second)) and int(steps) == 1


def test_jocors_loss_by_hand():
    """One image, one label: probabilities 1/2 and 3/4, label 1."""
    first, second, labels = jnp.array([[0.0]]), jnp.array([[np.log(3.0)]]), jnp.ones((1, 1))
    forward = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    backward = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    want = 0.3 * (np.log(2) + np.log(4 / 3)) + 0.7 * (forward + backward)
    np.testing.assert_allclose(coteaching.jocor_losses(first, second, labels, 0.7), [want], rtol=1e-5)


def test_jocor_differentiates_both_arguments_of_the_divergence():
    first, second, states = data(4)
    _, grads, _ = step(coteaching.jocor(SMALL, JoCoRSettings(1.0), PLAN), (first, second), states, 0)
    p, q = 1 / (1 + np.exp(-first)), 1 / (1 + np.exp(-second))
    size = first.size
    np.testing.assert_allclose(grads[0], (p * (1 - p) * (first - second) + p - q) / size, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(grads[1], (q * (1 - q) * (second - first) + q - p) / size, rtol=1e-4, atol=1e-7)


def test_jocor_without_divergence_ranks_as_joint_coteaching():
    """By the sum of both networks' losses."""
    first, second, states = data(5)
    value, grads, (_, _, metrics) = step(
        coteaching.jocor(SMALL, JoCoRSettings(0.0), PLAN), (first, second), states, LATE
    )
    joint = plain_bce(first, states) + plain_bce(second, states)
    chosen = np.argsort(joint)[:9]
    np.testing.assert_allclose(value, joint[chosen].mean(), rtol=1e-5)
    for grad in grads:
        assert set(np.flatnonzero(np.abs(grad).sum(1))) == set(chosen)
    assert int(metrics["selected_by_both"]) == 9


def plus(steps: int = 5000) -> Method:
    return coteaching.coteaching_plus(SMALL, CoteachingPlusSettings(0.1, steps), PLAN)


def agreeing_but_for(rows: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Networks whose thresholded labels differ in these images only."""
    first, second, states = data(6)
    second = np.abs(second) * np.sign(first)
    second[rows, 2] *= -1
    return first, second, states


def test_coteaching_plus_begins_as_coteaching():
    first, second, states = agreeing_but_for([3])
    for epoch in (0, 1):
        got = step(plus(), (first, second), states, epoch)
        want = step(coteaching.coteaching(SMALL, PLAN), (first, second), states, epoch)
        jax.tree.map(np.testing.assert_array_equal, got, want)


def test_coteaching_plus_chooses_among_the_images_of_disagreement():
    differing = [1, 4, 7, 8, 13]
    first, second, states = agreeing_but_for(differing)
    value, grads, _ = step(plus(), (first, second), states, LATE)
    own, other = plain_bce(first, states), plain_bce(second, states)
    easy = [sorted(differing, key=lambda row, loss=loss: loss[row])[:3] for loss in (other, own)]
    np.testing.assert_allclose(value, own[easy[0]].mean() + other[easy[1]].mean(), rtol=1e-5)
    for grad, chosen in zip(grads, easy, strict=True):
        assert set(np.flatnonzero(np.abs(grad).sum(1))) == set(chosen)


def test_without_disagreement_all_images_count_at_first_and_none_later():
    first, second, states = agreeing_but_for([])
    value, _, (steps, _, _) = step(plus(30), (first, second), states, LATE, steps=29)
    want = plain_bce(first, states).mean() + plain_bce(second, states).mean()
    np.testing.assert_allclose(value, want, rtol=1e-5)
    assert int(steps) == 30
    value, grads, _ = step(plus(30), (first, second), states, LATE, steps=30)
    assert float(value) == 0 and all((np.asarray(grad) == 0).all() for grad in grads)


def test_a_single_image_of_disagreement_may_be_forgotten():
    """floor(0.6 * 1) images are left."""
    first, second, states = agreeing_but_for([5])
    value, grads, _ = step(plus(), (first, second), states, LATE)
    assert float(value) == 0 and all((np.asarray(grad) == 0).all() for grad in grads)
