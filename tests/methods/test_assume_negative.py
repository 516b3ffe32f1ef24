import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltpml_jax.methods import assume_negative as an
from ltpml_jax.methods.assume_negative import surplus
from ltpml_jax.methods.base import Plan
from tests.helpers import one_step, plain
from tests.helpers.compiled import Compiled, value_and_gradient

an = Compiled(an)

RNG = np.random.default_rng(2)
LOGITS = RNG.normal(0, 2, (5, 4))
LABELS = (RNG.random((5, 4)) < 0.4).astype(float)
STATES = np.array([[1, 0, 2], [3, 2, 0]])
OBSERVED = np.array([[1.0, 0, 1], [0, 1, 0]])
ANSWER = np.array([[0.3, 1.5, 2.0], [0.8, 1.0, -2.0]])
PLAN = Plan(1, 2)


def test_one_element_by_hand():
    got = an.assume_negative(jnp.zeros((1, 2)), jnp.array([[1.0, 0.0]]), 0.25)
    np.testing.assert_allclose(got, -np.log(0.50001) * np.array([[1, 0.25]]), rtol=1e-6)


@pytest.mark.parametrize("weight", [1.0, 1 / 3, 0.0])
def test_value_and_gradient_are_those_of_the_definition(weight):
    with jax.enable_x64(True):
        logits, labels = jnp.asarray(LOGITS), jnp.asarray(LABELS)
        got, grad = value_and_gradient(lambda z: an.assume_negative(z, labels, weight).mean())(logits)
    np.testing.assert_allclose(got, plain.assume_negative(LOGITS, LABELS, weight), rtol=1e-10)
    np.testing.assert_allclose(
        grad, plain.slopes(lambda z: plain.assume_negative(z, LABELS, weight), LOGITS), atol=1e-8
    )


def test_the_logarithm_is_bounded():
    value, grad = value_and_gradient(lambda z: an.assume_negative(z, jnp.array([[1.0, 0.0]]), 1.0).sum())(
        jnp.array([[-200.0, 200.0]])
    )
    np.testing.assert_allclose(value, 2 * -np.log(1e-5), rtol=1e-5)
    assert np.isfinite(grad).all()


@pytest.mark.parametrize(("setting", "weight"), [(0.0, 1 / 2), (1.0, 1.0)])
def test_wan_weighs_negatives_by_the_other_classes(setting, weight):
    got = one_step.loss(an.wan(an.WANSettings(setting), PLAN), ANSWER, one_step.context(STATES))
    np.testing.assert_allclose(got, plain.assume_negative(ANSWER, OBSERVED, weight), rtol=1e-5)


def test_wan_of_one_class_is_finite():
    seen = one_step.context(STATES[:, :1])
    got = one_step.loss(an.wan(an.WANSettings(), PLAN), ANSWER[:, :1], seen)
    np.testing.assert_allclose(got, plain.assume_negative(ANSWER[:, :1], OBSERVED[:, :1], 1.0), rtol=1e-5)


def test_an_ls_smooths_by_epsilon_and_not_by_half_of_it():
    np.testing.assert_allclose(an.smoothed(jnp.array([1.0, 0.0]), 0.1), [0.9, 0.1], rtol=1e-6)
    got = one_step.loss(an.an_ls(an.ANLSSettings(), PLAN), ANSWER, one_step.context(STATES))
    want = plain.assume_negative(ANSWER, np.where(OBSERVED == 1, 0.9, 0.1), 1.0)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize(("setting", "k"), [(1.5, 1.5), (0.0, 36 / 50)])  # the counts are 30, 5, 1 of 50 images
def test_epr_expects_a_number_of_positives(setting, k):
    got = one_step.loss(an.epr(an.EPRSettings(setting), PLAN), ANSWER, one_step.context(STATES))
    known = (OBSERVED * plain.negative_log(plain.sigmoid(ANSWER))).mean()
    np.testing.assert_allclose(got, known + plain.surplus(plain.sigmoid(ANSWER), k), rtol=1e-5)


def test_the_regulariser_is_zero_where_the_number_is_as_expected():
    assert surplus(jnp.full((3, 4), 0.5), 2.0) == 0
    np.testing.assert_allclose(surplus(jnp.full((3, 4), 0.5), 1.0), 1 / 16)
