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


training = nnx.jit(lambda branch, images, mask, key: branch(images, train=True, mask=mask, dropout_key=key))


def test_the_branch_is_linear_in_standardised_means_and_deviations_of_every_stage():
    branch = FixedBranch(Zero(), Zero(), 5, dropout=0.0)
    branch.linear.kernel[...] = jnp.asarray(np.random.default_rng(1).normal(size=(8, 5)), jnp.float32)
    trained, got = training(branch, IMAGES, None, None)
    pooled = np.concatenate([IMAGES.mean((1, 2)), IMAGES.std((1, 2)), np.full((64, 1), 7), np.zeros((64, 1))], 1)
    standard = (pooled - pooled.mean(0)) / np.sqrt(pooled.var(0) + 1e-5)
    np.testing.assert_allclose(got, standard @ np.asarray(branch.linear.kernel[...]), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(trained, 0)
    np.testing.assert_allclose(branch.norm.mean[...], 0.1 * pooled.mean(0), rtol=1e-4)


def test_rows_outside_the_mask_enter_no_statistics_and_dropout_is_for_training():
    branch, mask = FixedBranch(Zero(), Zero(), 5, dropout=0.5), np.arange(64) < 32
    branch.linear.kernel[...] = jnp.ones((8, 5))
    images = IMAGES.copy()
    images[32:] = 100
    training(branch, images, mask, jax.random.key(0))
    np.testing.assert_allclose(branch.norm.mean[:3], 0.1 * IMAGES[:32].mean((0, 1, 2)), rtol=1e-4)
    first, second = (training(branch, IMAGES, None, jax.random.key(n))[1] for n in (0, 1))
    assert np.abs(first - second).max() > 0.1
    one, other = (branch(IMAGES, train=False, mask=None, dropout_key=None)[1] for _ in range(2))
    np.testing.assert_array_equal(one, other)
