import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltpml_jax.methods import role
from ltpml_jax.methods.base import Plan
from ltpml_jax.methods.role import RoleRows, RoleSettings
from tests.helpers import one_step, plain
from tests.helpers.compiled import Compiled, compiled, gradient

role = Compiled(role)

RNG = np.random.default_rng(3)
LOGITS, THETA = RNG.normal(0, 2, (2, 5, 4))
LABELS = (RNG.random((5, 4)) < 0.4).astype(float)
STATES = np.array([[1, 0, 2], [3, 2, 0]])
OBSERVED = np.array([[1.0, 0, 1], [0, 1, 0]])


def test_by_hand():
    """All logits 0, one class, k = 1/2, a positive: each side is two bce of 1/2, cut logarithms, no surplus."""
    zero, one = np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)
    loss, regulariser = role.role_loss(zero, zero, one, 0.5)
    np.testing.assert_allclose(loss, 2 * -np.log(0.50001), rtol=1e-6)
    assert regulariser == 0


def test_value_is_that_of_the_definition_and_either_side_holds_the_other_constant():
    with jax.enable_x64(True):
        z, theta, y = map(jnp.asarray, (LOGITS, THETA, LABELS))
        got, regulariser = role.role_loss(z, theta, y, 1.5)
        of_network = gradient(lambda z: role.role_loss(z, theta, y, 1.5)[0])(z)
        of_table = gradient(lambda t: role.role_loss(z, t, y, 1.5)[0])(theta)
        swapped = gradient(lambda t: role.role_loss(t, z, y, 1.5)[0])(theta)
    np.testing.assert_allclose(got, plain.role(LOGITS, THETA, LABELS, 1.5), rtol=1e-10)
    halves = plain.surplus(plain.sigmoid(LOGITS), 1.5) + plain.surplus(plain.sigmoid(THETA), 1.5)
    np.testing.assert_allclose(regulariser, halves / 2, rtol=1e-10)
    np.testing.assert_allclose(of_table, swapped, rtol=1e-10)  # the two sides are alike
    estimate = plain.sigmoid(THETA)

    def own_side(z):
        p = plain.sigmoid(z)
        known = LABELS * plain.negative_log(p) + estimate * plain.negative_log(p)
        return ((known + (1 - estimate) * plain.negative_log(1 - p)).mean() + plain.surplus(p, 1.5)) / 2

    np.testing.assert_allclose(of_network, plain.slopes(own_side, LOGITS), atol=1e-8)


def test_the_table_starts_sure_of_what_was_observed_and_open_elsewhere():
    states = np.tile(STATES, (50, 1))
    shared, rows = role.init(jnp.asarray(states, jnp.int8), one_step.PRIOR, 0)
    seen = np.isin(states, (1, 2))
    np.testing.assert_allclose(np.asarray(rows.theta)[seen], np.log(0.995 / 0.005), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(rows.theta)[states == 0], -np.log(0.995 / 0.005), rtol=1e-5)
    others = np.asarray(rows.theta)[states == 3]
    assert np.abs(others).max() < np.log(0.6 / 0.4) and others.std() == pytest.approx(np.log(1.5) / 3**0.5, rel=0.1)
    assert not rows.first.any() and not rows.second.any() and int(shared.steps) == 0
    again = role.init(jnp.asarray(states, jnp.int8), one_step.PRIOR, 0)[1].theta
    other = role.init(jnp.asarray(states, jnp.int8), one_step.PRIOR, 1)[1].theta
    np.testing.assert_array_equal(again, rows.theta)
    assert (np.asarray(other) != rows.theta).any()


def test_the_tables_update_is_adam():
    """Three steps on the same rows, against Adam written out."""
    shared, rows = role.init(jnp.asarray(STATES, jnp.int8), one_step.PRIOR, 0)
    theta, first, second = np.asarray(rows.theta, float), np.zeros((2, 3)), np.zeros((2, 3))
    for number in range(1, 4):
        gradient = np.random.default_rng(number).normal(size=(2, 3))
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        corrected = first / (1 - 0.9**number), second / (1 - 0.999**number)
        theta = theta - 0.05 * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
        shared, rows, metrics = role.update(
            one_step.context(STATES, shared, rows=rows), jnp.asarray(gradient, jnp.float32), 0.05
        )
    np.testing.assert_allclose(rows.theta, theta, rtol=1e-4)
    assert int(shared.steps) == 3
    np.testing.assert_allclose(metrics["estimated_positives"], (theta > 0).sum(1).mean())


def test_the_pass_hands_on_the_gradient_of_the_table():
    method = role.role(RoleSettings(expected_positives=0.0), Plan(1, 2))
    shared, rows = compiled(method.init)(STATES.astype(np.int8), one_step.PRIOR)
    answer = LOGITS[:2, :3].astype(np.float32)
    first = jax.jit(
        lambda seen: method.passes[0].loss(lambda images, mask, key: (jnp.asarray(answer), None), seen, None)
    )
    loss, (by_table, _) = first(one_step.context(STATES, shared, rows=rows))
    k = 36 / 50  # the counts are 30, 5, 1 of 50 images
    np.testing.assert_allclose(loss, plain.role(LOGITS[:2, :3], np.asarray(rows.theta), OBSERVED, k), rtol=1e-5)
    want = gradient(lambda theta: role.role_loss(answer, theta, jnp.asarray(OBSERVED), k)[0])(rows.theta)
    np.testing.assert_allclose(by_table, want, rtol=1e-5, atol=1e-8)


def test_beliefs_are_the_estimates():
    zeros = np.zeros((1, 3), np.float32)
    rows = RoleRows(np.float32([[-1, 0, 2]]), zeros, zeros)  # type: ignore[arg-type]
    beliefs = role.role(RoleSettings(), Plan(1, 2)).beliefs
    assert beliefs is not None
    soft, hard = compiled(beliefs)(None, rows)
    np.testing.assert_allclose(soft, plain.sigmoid(np.array([[-1.0, 0.0, 2.0]])), rtol=1e-5)
    np.testing.assert_array_equal(hard, [[0, 0, 1]])
