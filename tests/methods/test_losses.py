import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltpml_jax.methods import losses as eager
from ltpml_jax.methods.priors import Prior
from tests.helpers.compiled import Compiled, gradient, value_and_gradient

losses = Compiled(eager)

pytestmark = pytest.mark.usefixtures("least_optimised")

VOC = losses.DBSettings(0.05, 5.0, 0.1, 10.0, 0.3)
COCO = losses.DBSettings(0.05, 2.0, 0.1, 10.0, 0.2)
COUNTS = np.array([775.0, 120.0, 40.0, 9.0, 1.0])
SIZE = 1142.0


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def plain_db_focal(z: np.ndarray, y: np.ndarray, counts: np.ndarray, n: float, db: losses.DBSettings) -> np.ndarray:
    """The loss as its definition reads, one element at a time, in float64."""
    loss = np.zeros_like(z)
    for b in range(z.shape[0]):
        total = sum(y[b, k] / counts[k] for k in range(len(counts)))
        for j in range(z.shape[1]):
            biased = z[b, j] - np.log(n / counts[j] - 1) * db.init_bias / db.neg_scale
            weight = 1.0
            if total > 0:
                weight = sigmoid(db.map_beta * (1 / counts[j] / total - db.map_theta))
            weight += db.map_alpha
            scaled = biased * (db.neg_scale * (1 - y[b, j]) + y[b, j])
            weight *= (1 - y[b, j]) / db.neg_scale + y[b, j]
            bce = y[b, j] * np.logaddexp(0, -scaled) + (1 - y[b, j]) * np.logaddexp(0, scaled)
            loss[b, j] = 2 * (1 - np.exp(-bce)) ** 2 * weight * bce
    return loss


def example(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels float64 [6, 5]; the last row of labels is all zero."""
    rng = np.random.default_rng(3)
    soft = rng.dirichlet(np.ones(5), 6)
    labels = soft if kind == "soft" else (soft > 0.2).astype(float)
    labels[-1] = 0
    return rng.normal(0, 2, (6, 5)), labels


def test_one_element_by_hand():
    # One class, 1 of 4 images, neg_scale 2: bias -log(3) / 2 * 0.1, ratio 1, weight sigmoid(10 * 0.8) + 0.1.
    db = losses.DBSettings(0.1, 2.0, 0.1, 10.0, 0.2)
    prior = Prior(np.array([1.0]), np.array(4.0))
    got = losses.db_focal(jnp.array([[1.0]]), jnp.array([[1.0]]), prior, db)
    probability = 1 / (1 + np.exp(-(1 - 0.05493061)))
    want = 2 * (1 - probability) ** 2 * (0.9996646 + 0.1) * -np.log(probability)
    np.testing.assert_allclose(got, [[want]], rtol=1e-5)


@pytest.mark.parametrize("db", [VOC, COCO])
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_value_and_gradient_equal_the_plain_definition(kind, db):
    logits, labels = example(kind)
    weights = np.random.default_rng(0).normal(size=logits.shape)
    with jax.enable_x64(True):
        prior, y = Prior(jnp.asarray(COUNTS), jnp.asarray(SIZE)), jnp.asarray(labels)
        got = losses.db_focal(jnp.asarray(logits), y, prior, db)
        assert got.dtype == jnp.float64
        grad = gradient(lambda z: (weights * losses.db_focal(z, y, prior, db)).sum())(logits)
    np.testing.assert_allclose(got, plain_db_focal(logits, labels, COUNTS, SIZE, db), rtol=1e-10, atol=1e-20)
    for element in np.ndindex(*logits.shape):  # central differences of the plain definition
        step = np.zeros_like(logits)
        step[element] = 1e-5
        ends = [plain_db_focal(logits + s * step, labels, COUNTS, SIZE, db) for s in (1, -1)]
        slope = (weights * (ends[0] - ends[1])).sum() / 2e-5
        np.testing.assert_allclose(grad[element], slope, rtol=1e-5, atol=1e-8)


def test_all_zero_row_weighs_one_plus_alpha():
    weight = losses.rebalancing_weight(jnp.zeros((2, 5)), Prior(COUNTS, np.array(SIZE)), VOC)
    np.testing.assert_allclose(weight, np.full((2, 5), 1.1), rtol=1e-6)


def test_class_bias_is_negative_for_rare_and_positive_for_common_classes():
    bias = np.asarray(losses.class_bias(Prior(COUNTS, np.array(SIZE)), VOC))
    np.testing.assert_allclose(bias, -np.log(SIZE / COUNTS - 1) * 0.01, rtol=1e-5)
    assert bias[0] > 0 > bias[1] > bias[-1]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_finite_everywhere(dtype):
    """All-zero rows, empty and full classes, logits of +-100, hard, soft and all-one labels."""
    prior = Prior(np.array([0.0, SIZE, 40.0, 1.0], np.float32), np.array(SIZE, np.float32))
    rows = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0.25, 0.25, 0.5, 0], [1e-30, 0, 0, 0], [0, 1, 0, 0]]
    labels = np.tile(np.array(rows, np.float32), (3, 1))
    logits = np.repeat(np.array([[100], [-100], [0]], dtype), len(rows), axis=0) * np.ones((1, 4), dtype)
    value, grad = value_and_gradient(lambda z: losses.db_focal(z, labels, prior, VOC).sum())(logits)
    assert np.isfinite(value) and value.dtype == jnp.float32
    assert grad.dtype == dtype
    assert np.isfinite(np.asarray(grad, np.float32)).all() and np.abs(np.asarray(grad, np.float32)).max() > 0


def test_full_and_empty_classes_are_finite_each():
    prior = Prior(np.array([0.0, SIZE], np.float32), np.array(SIZE, np.float32))
    bias = np.asarray(losses.class_bias(prior, VOC))
    assert np.isfinite(bias).all() and bias[0] < 0 < bias[1]


@pytest.mark.parametrize("loss", ["db_focal", "bce"])
def test_bfloat16_logits_are_computed_in_float32(loss):
    raw, labels = example("soft")
    prior = Prior(COUNTS.astype(np.float32), np.array(SIZE, np.float32))
    logits, labels = jnp.asarray(raw, jnp.bfloat16), jnp.asarray(labels, jnp.float32)

    def run(z):
        return losses.bce(z, labels) if loss == "bce" else losses.db_focal(z, labels, prior, VOC)

    assert run(logits).dtype == jnp.float32
    np.testing.assert_array_equal(run(logits), run(logits.astype(jnp.float32)))
    low, high = (gradient(lambda z: run(z).sum())(z) for z in (logits, logits.astype(jnp.float32)))
    np.testing.assert_array_equal(low, high.astype(jnp.bfloat16))


def test_bce_by_hand_and_at_extreme_logits():
    got = losses.bce(jnp.array([[0.0, 100.0, -100.0, np.log(3)]]), jnp.array([[1.0, 1.0, 1.0, 0.25]]))
    mixed = -(0.25 * np.log(0.75) + 0.75 * np.log(0.25))
    np.testing.assert_allclose(got, [[np.log(2), 0, 100, mixed]], rtol=1e-6, atol=1e-30)
