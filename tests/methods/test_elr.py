import jax
import jax.numpy as jnp
import numpy as np

from ltpml_jax.methods import elr
from ltpml_jax.methods.base import Plan
from ltpml_jax.methods.elr import ELRSettings
from tests.helpers.compiled import Compiled, compiled, value_and_gradient
from tests.helpers.contexts import answers, context

elr = Compiled(elr)

PLAN = Plan(3, 2)
STATES = np.array([[2, 0], [0, 0]], np.int8)
LOGITS = jnp.array([[0.0, np.log(3.0)], [-np.log(3.0), 0.0]])  # probabilities 1/2, 3/4 and 1/4, 1/2
MEMORY = jnp.array([[0.5, 0.5], [0.9, 0.1]])


def step(logits: jax.Array, memory: jax.Array, settings: ELRSettings):
    """Loss, its gradient and the memory after the step."""
    method = elr.elr(settings, PLAN)
    given = context(STATES, rows=memory)

    def loss(logits):
        value, (carry, _) = method.passes[0].loss(answers(logits), given, None)
        return value, carry

    (value, carry), grad = value_and_gradient(loss, has_aux=True)(logits)
    return value, grad, compiled(method.update)(given, carry)[1]


def test_the_memory_starts_in_the_middle():
    shared, memory = elr.elr(ELRSettings(), PLAN).init(jnp.asarray(STATES), None)  # type: ignore[arg-type]
    np.testing.assert_array_equal(memory, np.full((2, 2), 0.5))
    assert shared == ()


def test_a_step_by_hand():
    """The memory is updated first: 0.6 of the old one and 0.4 of the probability."""
    value, _, memory = step(LOGITS, MEMORY, ELRSettings(weight=2.0, memory=0.6))
    after = np.array([[0.5, 0.6], [0.64, 0.26]])
    np.testing.assert_allclose(memory, after, rtol=1e-6)
    probability = np.array([[0.5, 0.75], [0.25, 0.5]])
    agreement = np.array([[0.5, 0.55], [0.64 * 0.25 + 0.36 * 0.75, 0.5]])
    np.testing.assert_allclose(agreement[0, 1], 0.6 * 0.75 + 0.4 * 0.25)
    bce = -np.log(np.where(STATES > 0, probability, 1 - probability))
    np.testing.assert_allclose(value, (bce + 2 * np.log(1 - agreement)).mean(), rtol=1e-5)


def test_the_gradient_takes_the_memory_as_a_constant():
    _, grad, memory = step(LOGITS, MEMORY, ELRSettings(weight=2.0, memory=0.6))
    probability = np.array([[0.5, 0.75], [0.25, 0.5]])
    t = np.asarray(memory)
    agreement = t * probability + (1 - t) * (1 - probability)
    pull = -(2 * t - 1) * probability * (1 - probability) / (1 - agreement)
    np.testing.assert_allclose(grad, (probability - (STATES > 0) + 2 * pull) / 4, rtol=1e-4, atol=1e-7)


def test_without_weight_it_is_bce():
    value, grad, _ = step(LOGITS, MEMORY, ELRSettings(weight=0.0))
    probability = np.array([[0.5, 0.75], [0.25, 0.5]])
    np.testing.assert_allclose(value, -np.log(np.where(STATES > 0, probability, 1 - probability)).mean(), rtol=1e-5)
    np.testing.assert_allclose(grad, (probability - (STATES > 0)) / 4, rtol=1e-5)


def test_far_logits_stay_finite():
    value, grad, memory = step(jnp.full((2, 2), 200.0), jnp.ones((2, 2)), ELRSettings(weight=7.0))
    assert np.isfinite(value) and np.isfinite(grad).all()
    np.testing.assert_allclose(memory, 0.7 + 0.3 * (1 - 1e-4), rtol=1e-6)


def test_it_believes_its_memory():
    beliefs = elr.elr(ELRSettings(), PLAN).beliefs
    assert beliefs is not None
    soft, hard = beliefs((), MEMORY)
    np.testing.assert_array_equal(soft, MEMORY)
    np.testing.assert_array_equal(hard, [[0, 0], [1, 0]])
