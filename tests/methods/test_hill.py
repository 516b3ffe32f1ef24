import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltpml_jax.methods import hill
from ltpml_jax.methods.base import Plan
from ltpml_jax.methods.hill import HillSettings, SPLCSettings
from tests.helpers import one_step, plain
from tests.helpers.compiled import Compiled, gradient, value_and_gradient

hill = Compiled(hill)

RNG = np.random.default_rng(1)
LOGITS = RNG.normal(0, 2, (5, 4))
LABELS = (RNG.random((5, 4)) < 0.4).astype(float)


def test_hill_by_hand():
    """Logit 1, margin 1: a positive at p_m = 1/2; logit 0: a negative at p = 1/2."""
    got = hill.hill_loss(jnp.array([[1.0, 0.0]]), jnp.array([[1.0, 0.0]]), HillSettings())
    np.testing.assert_allclose(got, [[np.log(2) / 4, 0.25]], rtol=1e-6)


@pytest.mark.parametrize("margin", [1.0, 0.5, 0.0])
def test_hill_and_its_gradient_are_those_of_the_definition(margin):
    with jax.enable_x64(True):
        labels, settings = jnp.asarray(LABELS), HillSettings(margin=margin)
        got, grad = value_and_gradient(lambda z: hill.hill_loss(z, labels, settings).sum())(jnp.asarray(LOGITS))
    np.testing.assert_allclose(got, plain.hill(LOGITS, LABELS, margin), rtol=1e-10)
    np.testing.assert_allclose(grad, plain.slopes(lambda z: plain.hill(z, LABELS, margin), LOGITS), atol=1e-8)


@pytest.mark.parametrize("epoch", [0, 1, 2])
@pytest.mark.parametrize("threshold", [0.6, 0.9])
def test_splc_and_its_gradient_are_those_of_the_definition(epoch, threshold):
    with jax.enable_x64(True):
        labels, settings = jnp.asarray(LABELS), SPLCSettings(threshold)
        got, grad = value_and_gradient(lambda z: hill.splc_loss(z, labels, epoch, settings).sum())(jnp.asarray(LOGITS))
    np.testing.assert_allclose(got, plain.splc(LOGITS, LABELS, epoch, threshold), rtol=1e-10)
    want = plain.slopes(lambda z: plain.splc(z, LABELS, epoch, threshold), LOGITS)
    np.testing.assert_allclose(grad, want, atol=1e-8)


def test_splc_recalls_a_confident_negative_from_the_second_epoch_on():
    """Logit 2 is above the threshold: at first it is pushed down, then up; logit 0 stays a negative."""

    def pull(epoch):
        return gradient(lambda z: hill.splc_loss(z, jnp.zeros((1, 2)), epoch, SPLCSettings()).sum())(
            jnp.array([[2.0, 0.0]])
        )

    assert pull(0)[0, 0] > 0 > pull(1)[0, 0] and pull(1)[0, 1] == pull(0)[0, 1] > 0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_saturated_logits_are_finite(gamma):
    logits, labels = jnp.array([[200.0, -200.0, 200.0, -200.0]]), jnp.array([[1.0, 0.0, 0.0, 1.0]])
    for loss in (
        lambda z: hill.hill_loss(z, labels, HillSettings(gamma=gamma)),
        lambda z: hill.splc_loss(z, labels, 1, SPLCSettings(gamma=gamma)),
    ):
        value, grad = value_and_gradient(lambda z, loss=loss: loss(z).sum())(logits)
        assert np.isfinite(value) and np.isfinite(grad).all()


def test_without_margin_and_exponent_a_positive_has_its_bce():
    got = hill.hill_loss(jnp.asarray(LOGITS), jnp.ones((5, 4)), HillSettings(margin=0.0, gamma=0.0))
    np.testing.assert_allclose(got, np.log1p(np.exp(-LOGITS)), rtol=1e-5)


STATES = np.array([[1, 0, 2], [3, 2, 0]])
OBSERVED = np.array([[1.0, 0, 1], [0, 1, 0]])
ANSWER = np.array([[0.3, 1.5, 2.0], [0.8, 1.0, -2.0]])


def test_the_methods_sum_and_splc_counts_epochs():
    got = one_step.loss(hill.hill(HillSettings(), Plan(2, 2)), ANSWER, one_step.context(STATES))
    np.testing.assert_allclose(got, plain.hill(ANSWER, OBSERVED, 1.0), rtol=1e-5)
    for epoch in (0, 1):
        seen = one_step.context(STATES, epoch=epoch)
        got = one_step.loss(hill.splc(SPLCSettings(), Plan(2, 2)), ANSWER, seen)
        np.testing.assert_allclose(got, plain.splc(ANSWER, OBSERVED, epoch, 0.6), rtol=1e-5)
