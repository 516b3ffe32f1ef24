import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ltpml_jax.methods.branch import FixedBranch

IMAGES = np.random.default_rng(0).normal(3, 2, (64, 4, 4, 3)).astype(np.float32)


class Zero(nnx.Module):
    """Logits 0; as a backbone, two stages: the images, and a constant."""

    stage_features = (3, 1)

    def __call__(self, images, *, train, mask, dropout_key):
        return jnp.zeros((len(images), 5))

    def stages(self, images, *, train, mask):
        return [images, jnp.full((len(images), 2, 2, 1), 7, images.dtype)]


@functools.partial(nnx.jit, static_argnames="train")
def call(branch, images, mask, seed, *, train):
    key = None if seed is None else jax.random.key(seed)
    return branch(images, train=train, mask=mask, dropout_key=key)


def made(dropout, kernel):
    """A branch with this kernel of its last layer."""
    branch = nnx.jit(lambda: FixedBranch(Zero(), Zero(), 5, dropout))()
    branch.linear.kernel[...] = kernel.astype(np.float32)
    return branch


def test_the_branch_is_linear_in_standardised_means_and_deviations_of_every_stage():
    branch = made(0.0, np.random.default_rng(1).normal(size=(8, 5)))
    trained, got = call(branch, IMAGES, None, None, train=True)
    pooled = np.concatenate([IMAGES.mean((1, 2)), IMAGES.std((1, 2)), np.full((64, 1), 7), np.zeros((64, 1))], 1)
    standard = (pooled - pooled.mean(0)) / np.sqrt(pooled.var(0) + 1e-5)
    np.testing.assert_allclose(got, standard @ np.asarray(branch.linear.kernel[...]), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(trained, 0)
    np.testing.assert_allclose(branch.norm.mean[...], 0.1 * pooled.mean(0), rtol=1e-4)


def test_rows_outside_the_mask_enter_no_statistics_and_dropout_is_for_training():
    branch, mask = made(0.5, np.ones((8, 5))), np.arange(64) < 32
    images = IMAGES.copy()
    images[32:] = 100
    call(branch, images, mask, 0, train=True)
    np.testing.assert_allclose(np.asarray(branch.norm.mean[...])[:3], 0.1 * IMAGES[:32].mean((0, 1, 2)), rtol=1e-4)
    first, second = (np.asarray(call(branch, IMAGES, None, seed, train=True)[1]) for seed in (0, 1))
    assert np.abs(first - second).max() > 0.1
    one, other = (call(branch, IMAGES, None, seed, train=False)[1] for seed in (0, None))
    np.testing.assert_array_equal(one, other)
