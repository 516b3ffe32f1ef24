"""The conv+norm unit: against plain numpy, and every switch against its plain form."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ltpml_jax.models import layers
from tests.helpers import weights
from tests.helpers.compiled import compiled

pytestmark = pytest.mark.usefixtures("least_optimised")

PLAIN = layers.Compute("float32", fold_norm=False, pointwise_matmul=False, batch_statistics=False)
FAST = layers.Compute("float32", fold_norm=True, pointwise_matmul=True, batch_statistics=False)


def numpy_conv(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Window by window, padded by half the kernel on every side."""
    size = kernel.shape[0]
    half = size // 2
    padded = np.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    height, width = [(n + 2 * half - size) // stride + 1 for n in x.shape[1:3]]
    out = np.zeros((len(x), height, width, kernel.shape[3]))
    for i, j in itertools.product(range(height), range(width)):
        window = padded[:, i * stride : i * stride + size, j * stride : j * stride + size]
        out[:, i, j] = np.tensordot(window, kernel, 3)
    return out


def randomise(module: nnx.Module, seed: int) -> None:
    """Gives every BatchNorm under the module a scale, shift, mean and variance that matter."""
    rng = np.random.default_rng(seed)
    for _, norm in nnx.iter_modules(module):
        if isinstance(norm, nnx.BatchNorm):
            ranges = (norm.scale, 0.5, 1.5), (norm.bias, -1, 1), (norm.mean, -1, 1), (norm.var, 0.5, 2)
            for leaf, low, high in ranges:
                assert leaf is not None
                leaf[...] = rng.uniform(low, high, norm.num_features).astype(np.float32)


def _unit(size: int, stride: int) -> nnx.List:
    def make() -> nnx.List:
        rngs = nnx.Rngs(3)
        return nnx.List([layers.conv(4, 6, size, stride, rngs), layers.batch_norm(6, rngs)])

    graphdef, shapes = nnx.split(nnx.eval_shape(make))
    unit = nnx.merge(graphdef, weights.filled(shapes, 3))
    randomise(unit, 5)
    return unit


def _images(height: int, width: int, channels: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, height, width, channels)).astype(np.float32)


# One program, which hands back what it did to the modules.
conv_norm = nnx.jit(layers.conv_norm, static_argnames=("compute", "mask"))


@pytest.mark.parametrize("size,stride", [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
@pytest.mark.parametrize("shape", [(9, 12), (10, 7)])
@pytest.mark.parametrize("matmul", [False, True])
def test_convolve_equals_numpy(size: int, stride: int, shape: tuple[int, int], matmul: bool) -> None:
    kernel = np.random.default_rng(2).normal(size=(size, size, 4, 6)).astype(np.float32)
    x = _images(*shape, 4)
    got = compiled(layers.convolve)(x, kernel, stride, matmul)
    np.testing.assert_allclose(got, numpy_conv(x, kernel, stride), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size,stride", [(1, 1), (1, 2), (3, 2)])
def test_plain_form_is_what_the_modules_themselves_compute(size: int, stride: int) -> None:
    conv, norm = _unit(size, stride)
    x = _images(9, 11, 4)
    want = nnx.jit(lambda conv, norm, x: norm(conv(x), use_running_average=True))(conv, norm, x)
    np.testing.assert_allclose(conv_norm(conv, norm, x, compute=PLAIN, mask=None), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fold,matmul", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("size,stride,shape", [(1, 1, (7, 9)), (1, 2, (7, 10)), (3, 2, (9, 7)), (7, 2, (11, 9))])
def test_fast_forms_equal_plain(fold: bool, matmul: bool, size: int, stride: int, shape: tuple[int, int]) -> None:
    graphdef, params, stats = nnx.split(_unit(size, stride), nnx.Param, ...)
    fast = layers.Compute("float32", fold, matmul, batch_statistics=False)

    def loss(params: nnx.State, x: jax.Array, compute: layers.Compute) -> tuple[jax.Array, jax.Array]:
        conv, norm = nnx.merge(graphdef, params, stats)
        y = layers.conv_norm(conv, norm, x, compute, None)
        return jnp.sum(jnp.sin(y)), y

    grad = jax.grad(loss, argnums=(0, 1), has_aux=True)
    got, want = jax.jit(lambda params, x: (grad(params, x, fast), grad(params, x, PLAIN)))(params, _images(*shape, 4))
    assert len(jax.tree.leaves(want)) == 5  # kernel, scale, bias, images; value
    assert all(np.abs(leaf).max() > 1e-2 for leaf in jax.tree.leaves(want))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-4), got, want)


def test_batch_statistics_by_hand() -> None:
    norm = layers.batch_norm(1, nnx.Rngs(0))
    x, mask = np.array([[1.0], [3.0], [99.0]], np.float32), np.array([True, True, False])
    y = np.asarray(nnx.jit(layers.normalise, static_argnums=2)(norm, x, True, mask))
    np.testing.assert_allclose(y[:2, 0], np.array([-1, 1]) / np.sqrt(1 + 1e-5), rtol=1e-6)
    np.testing.assert_allclose(norm.mean[...], [0.1 * 2], rtol=1e-6)
    np.testing.assert_allclose(norm.var[...], [0.9 + 0.1 * 1], rtol=1e-6)


def test_batch_statistics_are_never_folded() -> None:
    conv, norm = _unit(3, 1)
    live = layers.Compute("float32", fold_norm=True, pointwise_matmul=True, batch_statistics=True)
    y = np.asarray(conv_norm(conv, norm, 50 + 9 * _images(9, 9, 4), compute=live, mask=None))
    assert norm.scale is not None and norm.bias is not None
    np.testing.assert_allclose(y.mean((0, 1, 2)), norm.bias[...], atol=1e-3)
    np.testing.assert_allclose(y.std((0, 1, 2)), norm.scale[...], rtol=1e-3)


def test_bfloat16_keeps_parameters_and_statistics_in_float32() -> None:
    conv, norm = _unit(3, 1)
    x = _images(9, 9, 4).astype(jnp.bfloat16.dtype)
    for fold, live in ((True, False), (False, False), (False, True)):
        y = conv_norm(conv, norm, x, compute=layers.Compute("bfloat16", fold, True, live), mask=None)
        assert y.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state((conv, norm))))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_max_pool_and_its_gradient(dtype: jnp.dtype) -> None:
    x = -np.arange(1.0, 16.0).astype(dtype).reshape(1, 3, 5, 1)  # negative: padding must not win

    def pooled(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = layers.max_pool(x)
        return y.sum(), y

    grad, y = jax.jit(jax.grad(pooled, has_aux=True))(x)
    np.testing.assert_array_equal(np.asarray(y)[0, :, :, 0], [[-1, -2, -4], [-6, -7, -9]])
    np.testing.assert_array_equal(np.asarray(grad)[0, :, :, 0], [[1, 1, 0, 1, 0], [1, 1, 0, 1, 0], [0, 0, 0, 0, 0]])


def test_he_normal_counts_fan_out() -> None:
    kernel = layers.conv(64, 16, 3, 1, nnx.Rngs(0)).kernel[...]
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 16)), rel=0.03)
