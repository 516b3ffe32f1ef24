import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltpml_jax.methods import pu_mlc
from ltpml_jax.methods.base import Plan
from ltpml_jax.methods.pu_mlc import PUMLCSettings
from tests.helpers import one_step, plain, tiny
from tests.helpers.compiled import Compiled, gradient, value_and_gradient

pytestmark = pytest.mark.usefixtures("least_optimised")

pu_mlc = Compiled(pu_mlc)

RNG = np.random.default_rng(4)
LOGITS = RNG.normal(0, 1, (6, 4)) * np.array([0.2, 1, 3, 0.05])  # deviations below and above 1
LABELS = (RNG.random((6, 4)) < 0.4).astype(float)
LABELS[:, 2] = 0  # a class without positives


@pytest.mark.parametrize(("gamma", "alpha"), [(0.55, 1.0), (0.85, 2.0), (0.0, 1.0)])
def test_value_is_that_of_the_definition(gamma, alpha):
    with jax.enable_x64(True):
        got = pu_mlc.vpu_loss(jnp.asarray(LOGITS), jnp.asarray(LABELS), gamma, alpha)
    np.testing.assert_allclose(got, plain.vpu(LOGITS, LABELS, gamma, alpha), rtol=1e-9)


def test_temperature_and_weight_have_no_gradient():
    """Against differences of the loss with both held at their values."""
    temperature = np.minimum(LOGITS.std(0), 1)
    weight = plain.sigmoid(LOGITS / temperature).mean(0) ** 0.55

    def held(z):
        p = plain.sigmoid(z / temperature)
        known = (LABELS * np.log(p)).sum(0) / np.maximum(LABELS.sum(0), 1)
        return (weight * np.log(p.mean(0) + 1e-10) - known).sum()

    with jax.enable_x64(True):
        logits, labels = jnp.asarray(LOGITS), jnp.asarray(LABELS)
        got = gradient(lambda z: pu_mlc.vpu_loss(z, labels, 0.55, 1.0))(logits)
    np.testing.assert_allclose(got, plain.slopes(held, LOGITS, 1e-6), rtol=1e-6, atol=1e-7)


def test_a_class_without_positives_is_pushed_down_only():
    grad = gradient(lambda z: pu_mlc.vpu_loss(z, jnp.asarray(LABELS), 0.55, 1.0))(jnp.asarray(LOGITS))
    assert (np.asarray(grad)[:, 2] > 0).all()


@pytest.mark.parametrize("level", [0.0, 30.0, -30.0])
def test_constant_and_saturated_logits_are_finite(level):
    logits = jnp.full((6, 4), level)
    value, grad = value_and_gradient(lambda z: pu_mlc.vpu_loss(z, jnp.asarray(LABELS), 0.55, 1.0))(logits)
    assert np.isfinite(value) and np.isfinite(grad).all()


def test_halves_are_mixed_by_hand():
    values = jnp.array([[1.0], [2.0], [10.0], [20.0]])
    np.testing.assert_allclose(pu_mlc.mixed_halves(values, jnp.array([1, 0]), jnp.array(0.75)), [[4.0], [5.75]])


def test_consistency_is_zero_for_equal_probabilities_and_by_hand_for_others():
    one = jnp.array([[0.5, 0.25], [0.5, 0.5]])
    assert pu_mlc.consistency_loss(one, one) == 0
    got = pu_mlc.consistency_loss(one, jnp.array([[0.25, 0.25], [0.5, 0.25]]))
    np.testing.assert_allclose(got, np.log(2) ** 2, rtol=1e-5)  # two of the four differ by log 2; a mean over two rows


def test_the_methods_loss_and_what_the_consistency_adds():
    """A network whose logits do not depend on the images: its mixed half answers as its first two rows."""
    states = np.array([[1, 0, 2], [3, 2, 0], [0, 0, 1], [2, 0, 0]])
    observed = np.isin(states, (1, 2)).astype(float)
    answer = np.linspace(-1, 1, 12).reshape(4, 3)
    seen = one_step.context(states, ())
    calls = []

    def forward(images, mask, key):
        calls.append(len(images))
        return jnp.asarray(answer[: len(images)], jnp.float32), f"statistics of {len(images)}"

    def total(method, seen):
        value, (carry, stats) = method.passes[0].loss(forward, seen, None)
        assert carry is None and stats == "statistics of 4"
        return value

    totals = {}
    with tiny.plain_draws():
        for weight in (0.0, 1.0, 3.0):
            method = pu_mlc.pu_mlc(PUMLCSettings(consistency=weight), Plan(1, 4))
            totals[weight] = jax.jit(functools.partial(total, method))(seen)
    assert calls == [4, 4, 2, 4, 2]
    np.testing.assert_allclose(totals[0.0], plain.vpu(answer, observed, 0.85, 2.0), rtol=1e-5)
    assert totals[1.0] > totals[0.0]
    np.testing.assert_allclose(totals[3.0] - totals[0.0], 3 * (totals[1.0] - totals[0.0]), rtol=1e-4)


def test_an_odd_batch_has_no_halves():
    pu_mlc.pu_mlc(PUMLCSettings(), Plan(1, 5))
    with pytest.raises(ValueError, match="batch_size is 5; with config.pu_mlc.consistency it must be even"):
        pu_mlc.pu_mlc(PUMLCSettings(consistency=1.0), Plan(1, 5))
