"""COMIC's classifiers, attention and network, against numpy and on backbones of one layer."""

import functools
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx

from ltpml_jax.methods import comic_network
from ltpml_jax.methods.comic_losses import ComicSettings
from ltpml_jax.methods.comic_network import Attention, ComicNetwork
from ltpml_jax.models import classifier
from tests.helpers import tiny
from tests.helpers.compiled import compiled, gradient

pytestmark = pytest.mark.usefixtures("least_optimised")

moving_mean, normalised_logits = map(compiled, (comic_network.moving_mean, comic_network.normalised_logits))
RNG = np.random.default_rng(0)
FEATURES, WEIGHT, MOVING = (RNG.normal(size=shape).astype(np.float32) for shape in ((3, 4), (5, 4), 4))
SMALL = ComicSettings(feature_width=8, attention_width=6)


def slow_logits(groups: int, shift: float) -> np.ndarray:
    out = np.zeros((3, 5))
    for b, c in np.ndindex(out.shape):
        for part in np.split(np.arange(4), groups):
            f, w, e = FEATURES[b, part], WEIGHT[c, part], MOVING[part]
            f, e = f / np.linalg.norm(f), e / np.linalg.norm(e)
            out[b, c] += 16 / groups * (f + shift * (f @ e) * e) @ (w / (np.linalg.norm(w) + 1 / 32))
    return out


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("shift", [0.0, -1.0, 2.0])
def test_logits_by_group_and_moving_vector(groups, shift):
    got = normalised_logits(FEATURES, WEIGHT, 16.0, groups, MOVING, shift)
    np.testing.assert_allclose(got, slow_logits(groups, shift), rtol=1e-4, atol=1e-5)
    if not shift:
        np.testing.assert_allclose(normalised_logits(FEATURES, WEIGHT, 16.0, groups), got, rtol=1e-6)


def test_the_head_takes_the_moving_direction_out():
    got = normalised_logits(3 * MOVING[None], WEIGHT, moving=MOVING, shift=-1.0)
    np.testing.assert_allclose(got, 0, atol=1e-5)


def test_zero_features_and_moving_vectors_have_a_finite_gradient():
    def total(features, weight, moving):
        return normalised_logits(features, weight, moving=moving, shift=2.0).sum()

    zeros = (np.zeros(shape, np.float32) for shape in ((2, 4), (5, 4), 4))
    for grad in gradient(total, (0, 1))(*zeros):
        assert np.isfinite(grad).all()


def test_the_moving_mean_adds_batches_and_is_constant():
    first = moving_mean(np.zeros(2, np.float32), np.float32([[1, 2], [3, 4]]))
    np.testing.assert_allclose(first, [2, 3])
    np.testing.assert_allclose(moving_mean(first, np.float32([[1, 0]])), [2.8, 2.7], rtol=1e-6)
    assert not np.any(gradient(lambda f: moving_mean(first, f).sum())(np.ones((2, 2), np.float32)))


def test_attention_by_hand_and_its_dropout():
    attention = nnx.jit(lambda: Attention(4, 3, 0.5, nnx.Rngs(0)))()
    call = nnx.jit(lambda made, *args, train, key: made(*args, train=train, dropout_key=key), static_argnames="train")
    query, keys = FEATURES, RNG.normal(size=(3, 2, 4)).astype(np.float32)
    out, weights = call(attention, query, keys, train=False, key=None)
    wq, wk, v = (np.asarray(layer.kernel[...]) for layer in (attention.query, attention.key, attention.score))
    score = (np.tanh((query @ wq)[:, None] + keys @ wk) @ v)[..., 0]
    want = np.exp(score) / np.exp(score).sum(1, keepdims=True)
    np.testing.assert_allclose(weights, want, rtol=1e-5)
    np.testing.assert_allclose(out, (want[..., None] * keys).sum(1), rtol=1e-4, atol=1e-6)
    _, dropped = call(attention, query, keys, train=True, key=jax.random.key(1))
    np.testing.assert_allclose(dropped, np.where(np.asarray(dropped) == 0, 0, 2 * want), rtol=1e-5)
    assert (np.asarray(dropped) == 0).any() and (np.asarray(dropped) > 0).any()


def network(**changes) -> ComicNetwork:
    blocks = SimpleNamespace(backbone=tiny.Features, classes=5, seed=0)
    return ComicNetwork(blocks, SMALL._replace(**changes))  # type: ignore[arg-type]


def outputs(made: nnx.Module):
    images = np.random.default_rng(3).normal(size=(2, 16, 16, 3)).astype(np.float32)
    forward = classifier.make_forward((parts := classifier.split(made, 4)).graphdef)
    run = jax.jit(functools.partial(forward, train=False, mask=None, dropout_key=None))
    return jax.device_get(run(*parts[1:], images))[0]


def test_frozen_backbones_do_not_train_and_the_branches_differ():
    made = network()
    parts = classifier.split(made, 4)
    names = {"/".join(map(str, path)) for path, _ in nnx.to_flat_state(parts.trainable)}
    branch = {"feature/kernel", "feature/bias", "classifier/weight"}
    attention = {f"attention/{layer}/kernel" for layer in ("query", "key", "score")}
    assert names == attention | {f"{name}/{leaf}" for name in ("head", "tail", "balanced") for leaf in branch}
    assert made.backbone is made.balanced.backbone
    out = outputs(made)
    assert out.logits.head.shape == (2, 5) and out.weights.tail.shape == (5, 8)
    assert np.abs(out.features.head - out.features.tail).max() > 1e-3


def test_only_the_balanced_logits_attend_to_head_and_tail():
    with_it, without = outputs(network(attention_residual=1.0)), outputs(network(attention_residual=0.0))
    for name in ("head", "tail"):
        np.testing.assert_array_equal(getattr(with_it.logits, name), getattr(without.logits, name))
    assert np.abs(with_it.logits.balanced - without.logits.balanced).max() > 1e-2
    plain = normalised_logits(without.features.balanced, without.weights.balanced)
    np.testing.assert_allclose(without.logits.balanced, plain, rtol=1e-5)


def test_log_softmax_of_the_features():
    features = outputs(network(feat_logsoftmax=True)).features.head
    np.testing.assert_allclose(np.exp(features).sum(1), 1, rtol=1e-5)
