import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ltpml_jax.methods import losses, noise_model
from ltpml_jax.methods.base import Blocks, Context, Keys, Plan
from ltpml_jax.methods.label_states import LabelState
from ltpml_jax.methods.noise_model import NoiseSettings
from ltpml_jax.methods.priors import Prior, estimated_prior
from ltpml_jax.models import classifier
from tests.helpers.compiled import Compiled, compiled, gradient

losses = Compiled(losses)
label_model, posterior = compiled(noise_model.label_model), compiled(noise_model.posterior)
negative_log_likelihood = compiled(noise_model.negative_log_likelihood)

EVERY = jnp.array([[0] * 3, [1] * 3, [2] * 3, [3] * 3], jnp.int8)
LOGITS = jnp.array([[0.3, -1.0, 2.0], [0.0, 1.0, -2.0], [4.0, -5.0, 0.1], [-0.7, 0.2, 30.0]])
# 100 images: 40 positive, 20 candidate, 30 negative, 10 unknown in the first class, and so on.
COUNT = np.array([[30.0, 10, 80], [40, 5, 0], [20, 25, 20], [10, 60, 0]])


def prior(rate: float = 0.2, states: np.ndarray | None = COUNT) -> Prior:
    return Prior(np.array([50.0, 12.5, 1.0]), np.array(100.0), np.array(rate), np.array(5.0), state_count=states)


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))


@pytest.mark.parametrize("state", [None, *LabelState])
def test_one_image_is_a_training_set(state):
    states = None if state is None else np.eye(4)[state][:, None] * np.ones(3)
    alone = prior(states=states)._replace(class_count=np.ones(3), train_size=np.array(1.0))
    loss = negative_log_likelihood(LOGITS, EVERY, label_model(alone, NoiseSettings()))
    assert np.isfinite(loss).all()


@pytest.mark.parametrize(
    "settings", [NoiseSettings(), NoiseSettings("given", 0.2, missing_rate=0.4, weight_exponent=0.5)]
)
@pytest.mark.parametrize("states", [None, COUNT])
def test_the_gradient_is_that_of_cross_entropy_to_the_posterior(settings, states):
    """For every state, and both certain ones."""
    model = label_model(prior(states=states), settings)
    got = gradient(lambda z: negative_log_likelihood(z, EVERY, model).sum())(LOGITS)
    target = posterior(LOGITS, EVERY, model)
    np.testing.assert_allclose(got, gradient(lambda z: losses.bce(z, target).sum())(LOGITS), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(target[:2], [[0, 0, 0], [1, 1, 1]])


def test_candidates_have_the_posterior_and_likelihood_of_forward_correction():
    model, p, q = label_model(prior(states=None), NoiseSettings()), sigmoid(LOGITS), 0.2
    np.testing.assert_allclose(posterior(LOGITS, EVERY, model)[2], (p / (p + q * (1 - p)))[2], rtol=1e-5)
    loss = negative_log_likelihood(LOGITS, EVERY, model)
    np.testing.assert_allclose(loss[2], -np.log(p + q * (1 - p))[2], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(loss[0], -np.log((1 - q) * (1 - p))[0], rtol=1e-5)


def test_the_table_of_a_class_with_all_four_states_by_hand():
    """First class: 60 of 100 are named, 0.9 n + 0.2 (100 - n), so that n = 40 / 0.7, of which 40 are known."""
    count = 40 / 0.7
    model = label_model(prior(), NoiseSettings("given", 0.2, missing_rate=0.1))
    hidden = (10 - 0.1 * count) / (100 - count)
    want = [[1 - 0.2 - hidden, 0, 0.2, hidden], [0, 40 / count, 0.9 - 40 / count, 0.1]]
    np.testing.assert_allclose(np.exp(model.log_probability[:, :, 0]), want, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(np.exp(model.log_probability[:, :, 0]).sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(model.frequency[0], count / 100, rtol=1e-6)


def test_counts_stay_above_their_standard_error_and_below_the_images():
    found = label_model(prior(states=None)._replace(class_count=np.array([400.0, 12.5, 1.0])), NoiseSettings())
    np.testing.assert_allclose(found.frequency, [0.99, 0.125, 0.05], rtol=1e-5)


def test_unknown_labels_say_nothing_where_negatives_are_known():
    """Half of all labels are left, at random: the posterior of the others is the network's own probability."""
    states = np.array([[40.0] * 3, [10] * 3, [0] * 3, [50] * 3])
    left = Prior(np.full(3, 10.0), np.array(100.0), state_count=states)
    model = label_model(left, NoiseSettings())
    np.testing.assert_allclose(model.frequency, 0.2, rtol=1e-5)
    np.testing.assert_allclose(posterior(LOGITS, EVERY, model)[3], sigmoid(LOGITS)[3], rtol=1e-4)
    missing = left._replace(state_count=np.array([[0.0] * 3, [10] * 3, [0] * 3, [90] * 3]), missing_rate=np.array(0.5))
    below = posterior(LOGITS, EVERY, label_model(missing, NoiseSettings()))[3]
    assert (below < 0.9 * sigmoid(LOGITS)[3])[:2].all()


def test_unknown_labels_are_absent_at_missing_rate_0_and_likelier_present_the_higher_it_is():
    beliefs = [
        posterior(LOGITS, EVERY, label_model(prior(), NoiseSettings("given", 0.2, missing_rate=r)))[3]
        for r in (0, 0.2, 0.5)
    ]
    np.testing.assert_array_equal(beliefs[0], 0)
    assert (beliefs[1][:2] > 0).all() and (beliefs[2][:2] > beliefs[1][:2]).all()


def test_without_flips_it_is_cross_entropy_on_the_candidates():
    states = jnp.array([[0, 1, 2], [2, 2, 0]], jnp.int8)
    known = np.array([[1.0, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]])
    model = label_model(prior(0.0, known), NoiseSettings())
    want = gradient(lambda z: losses.bce(z, jnp.minimum(states, 1)).sum())(LOGITS[:2])
    got = gradient(lambda z: negative_log_likelihood(z, states, model).sum())(LOGITS[:2])
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_given_rates_replace_the_estimate_and_the_counts_follow():
    found = label_model(prior(0.3), NoiseSettings(rates="given", flip_rate=0.5))
    np.testing.assert_allclose(np.exp(found.log_probability[0, 2]), 0.5, rtol=1e-6)
    np.testing.assert_allclose(found.frequency[0], (60 - 50) / 0.5 / 100, rtol=1e-5)


def test_given_rates_find_the_counts_that_made_the_labels_and_their_error():
    size, q, r, truth = 1000, 0.2, 0.4, np.array([400.0, 50, 3])
    named = truth * (1 - r) + q * (size - truth)
    states = np.stack([0 * named, 0 * named, named, size - named])
    found = Prior(truth * 0 + 1, np.array(1000.0), np.array(0.5), np.array(900.0), state_count=states)
    settings = NoiseSettings(rates="given", flip_rate=q, missing_rate=r)
    least = np.sqrt(size * q / (1 - q)) / (1 - r)
    np.testing.assert_allclose(label_model(found, settings).frequency, [0.4, 0.05, least / 1000], rtol=1e-5)
    with pytest.raises(ValueError, match="flip_rate is 0.7 and missing_rate 0.3; set them to less than 1"):
        noise_model.noise_model(NoiseSettings("given", 0.7, missing_rate=0.3), Plan(1, 8))


def test_true_counts_hide_no_positives_and_estimated_ones_do():
    seen = prior()._replace(missing_rate=np.array(0.5), class_count=np.array([20.0, 10, 5]))
    seen = seen._replace(state_count=np.concatenate([np.zeros((1, 3)), COUNT[1:]]))
    np.testing.assert_allclose(label_model(seen, NoiseSettings()).frequency, [0.4, 0.2, 0.05], rtol=1e-5)
    true = seen._replace(true_counts=np.array(True))
    np.testing.assert_allclose(label_model(true, NoiseSettings()).frequency, [0.2, 0.1, 0.05], rtol=1e-5)


def test_weights_are_powers_of_the_inverse_count_with_mean_1():
    weight = label_model(prior(states=None), NoiseSettings(weight_exponent=0.5)).weight
    np.testing.assert_allclose(np.asarray(weight).mean(), 1, rtol=1e-6)
    np.testing.assert_allclose(weight[1] / weight[0], 2, rtol=1e-5)
    np.testing.assert_array_equal(label_model(prior(), NoiseSettings()).weight, 1)


def test_maximum_likelihood_finds_the_frequencies_behind_false_candidates():
    """4,000 images without features: the offsets that fit best are the true frequencies, where q is the true one."""
    rng, truth = np.random.default_rng(0), np.array([0.5, 0.3, 0.15])
    states = jnp.int8(2) * ((rng.random((4000, 3)) < truth) | (rng.random((4000, 3)) < 0.3))
    found = Prior(np.full(3, 400.0), np.array(4000.0), np.array(0.3))
    model, bias = label_model(found, NoiseSettings()), jnp.zeros(3)
    gradient = jax.jit(jax.grad(lambda b: negative_log_likelihood(b[None] + jnp.zeros((4000, 3)), states, model).sum()))
    for _ in range(500):
        bias -= 0.001 * gradient(bias)
    np.testing.assert_allclose(sigmoid(bias), ((states > 0).mean(0) - 0.3) / 0.7, atol=0.002)
    np.testing.assert_allclose(sigmoid(bias), truth, atol=0.03)


def test_without_candidates_nothing_is_flipped():
    columns = np.array([40, 5, 3])
    states = np.stack([0 * columns, columns, 0 * columns, 100 - columns])
    assert float(estimated_prior(columns, 100, states).flip_rate) == 0
    np.testing.assert_array_equal(estimated_prior(columns, 100, states).class_count, columns)


class Stages(nnx.Module):
    """One stage: the images, times a weight that must not train."""

    stage_features = (3,)

    def __init__(self) -> None:
        self.weight = nnx.Param(jnp.ones(()))

    def stages(self, images, *, train, mask):
        return [images * self.weight[...]]


class Constant(nnx.Module):
    """Logits 1, 2, 3 for every image."""

    def __init__(self) -> None:
        self.backbone, self.value = "mine", nnx.Param(jnp.arange(1.0, 4.0))

    def __call__(self, images, *, train, mask, dropout_key):
        return jnp.tile(self.value[...], (len(images), 1))


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_the_network_starts_at_the_class_frequencies_which_are_not_trained(share):
    blocks = Blocks(lambda number: Constant(), lambda number: Stages(), lambda: None, 3, 0, prior(states=None))
    method = noise_model.noise_model(NoiseSettings(branch=share), Plan(1, 2))
    network = method.network(blocks)
    forward = nnx.jit(lambda network, images: network(images, train=False, mask=None, dropout_key=None))
    outputs = forward(network, np.ones((2, 4, 4, 3), np.float32))
    offset = np.log(np.array([0.5, 0.125, 0.05]) / np.array([0.5, 0.875, 0.95]))
    want = np.tile(offset + (1 - share) * np.arange(1, 4), (2, 1))
    np.testing.assert_allclose(next(iter(method.predictions.values()))(outputs), want, rtol=1e-5)
    assert list(method.predictions) == (["mean", "trained", "fixed"] if share else ["network"])
    trains = classifier.split(network, 0).trainable
    assert sorted(leaf.shape for leaf in jax.tree.leaves(trains)) == ([(3,), (3,), (6, 3)] if share else [(3,)])
    assert network.backbone == "mine"


def test_each_part_learns_from_the_states_and_the_belief_is_of_their_mean():
    method, model = noise_model.noise_model(NoiseSettings(), Plan(1, 2)), label_model(prior(), NoiseSettings())
    key, both = jax.random.key(0), (LOGITS, 2 * LOGITS)
    context = Context(LOGITS, EVERY, EVERY, jnp.int32(0), Keys(key, key, key), model, (), jnp.ones(4, bool))

    def first(seen: Context):
        loss, (belief, stats) = method.passes[0].loss(lambda images, mask, key: (both, "new"), seen, None)
        assert stats == "new"
        return loss, belief

    loss, belief = jax.jit(first)(context)
    want = sum(negative_log_likelihood(one, EVERY, model).mean() for one in both)
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    np.testing.assert_allclose(belief, posterior(1.5 * LOGITS, EVERY, model), rtol=1e-5)


def test_beliefs_begin_as_the_posterior_of_the_class_frequencies():
    method = noise_model.noise_model(NoiseSettings(), Plan(1, 2))
    shared, rows = compiled(method.init)(jnp.array([[0, 1, 2]], jnp.int8), prior(states=None))
    np.testing.assert_allclose(rows, [[0, 1, 0.05 / (0.05 + 0.2 * 0.95)]], rtol=1e-5)
    np.testing.assert_array_equal(method.beliefs(shared, rows)[1], [[0, 1, 0]])  # type: ignore[misc]
