"""Convolution and BatchNorm as one unit: the arithmetic every backbone is made of.

Parameters live in plain `nnx.Conv` and `nnx.BatchNorm` modules, named as torchvision names them. How they are
applied is decided here by `Compute`, so that every speed switch has its plain form beside it.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

EPSILON = 1e-5  # BatchNorm's, in torchvision
MOMENTUM = 0.9  # kept share of the running statistics: torch calls it momentum 0.1
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


@dataclass(frozen=True)
class Compute:
    """How the units of a backbone are applied; parameters are float32 whatever `dtype` says.

    Attributes:
        dtype: "float32" or "bfloat16", of activations and convolutions.
        fold_norm: put a stored-statistics BatchNorm into the convolution's weights.
        pointwise_matmul: compute 1x1 convolutions as matrix products.
        batch_statistics: BatchNorm normalises with the batch's statistics and updates the running ones.
    """

    dtype: str
    fold_norm: bool
    pointwise_matmul: bool
    batch_statistics: bool


def conv(inputs: int, outputs: int, size: int, stride: int, rngs: nnx.Rngs) -> nnx.Conv:
    """A square convolution [size, size, inputs, outputs], no bias, He normal (fan out), as in torchvision."""
    return nnx.Conv(
        inputs,
        outputs,
        (size, size),
        strides=(stride, stride),
        padding=_padding(size),
        use_bias=False,
        kernel_init=he_normal,
        rngs=rngs,
    )


def batch_norm(width: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """A BatchNorm over the last axis that computes in float32, whatever it is given."""
    # E[x^2] - E[x]^2 loses small variances to rounding; the exact two-pass form costs nothing measurable.
    return nnx.BatchNorm(
        width, momentum=MOMENTUM, epsilon=EPSILON, dtype=jnp.float32, use_fast_variance=False, rngs=rngs
    )


he_normal = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


def conv_norm(unit: nnx.Conv, norm: nnx.BatchNorm, x: Array, compute: Compute, mask: Array | None) -> Array:
    """BatchNorm of the convolution of x.

    Args:
        unit: the convolution.
        norm: its BatchNorm; the running statistics change in place with `compute.batch_statistics`.
        x: [B, H, W, I] in `compute.dtype`.
        compute: how to compute.
        mask: bool [B], the rows that count in batch statistics; None for all.

    Returns:
        [B, H', W', O] in `compute.dtype`.
    """
    stride, kernel = int(unit.strides[0]), unit.kernel[...]  # pyright: ignore
    if compute.fold_norm and not compute.batch_statistics:
        kernel, shift = fold(kernel, norm)
        return convolve(x, kernel, stride, compute.pointwise_matmul) + shift.astype(x.dtype)[None, None, None]
    y = convolve(x, kernel, stride, compute.pointwise_matmul)
    return normalise(norm, y, compute.batch_statistics, mask).astype(x.dtype)


def fold(kernel: Array, norm: nnx.BatchNorm) -> tuple[Array, Array]:
    """Kernel [h, w, I, O] and bias [O], float32, of a convolution and stored-statistics BatchNorm in one."""
    assert norm.scale is not None and norm.bias is not None
    gain = norm.scale[...] * lax.rsqrt(norm.var[...] + norm.epsilon)
    return kernel * gain[None, None, None], norm.bias[...] - norm.mean[...] * gain


def convolve(x: Array, kernel: Array, stride: int, pointwise_matmul: bool) -> Array:
    """Convolution of x [B, H, W, I] with a square kernel of odd size, padded by half of it on every side.

    The padding is written out: "SAME" pads a stride-2 convolution of an even size on the far side only,
    torchvision on both.
    """
    kernel = kernel.astype(x.dtype)
    if pointwise_matmul and kernel.shape[:2] == (1, 1):
        # XLA:CPU computes the weight gradient of a 1x1 convolution several times slower than of a product.
        return jnp.matmul(x[:, ::stride, ::stride, :], kernel[0, 0])
    padding = _padding(kernel.shape[0])
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=DIMENSIONS)


def normalise(norm: nnx.BatchNorm, x: Array, batch_statistics: bool, mask: Array | None) -> Array:
    """BatchNorm of x [B, ..., F], float32; with `batch_statistics` only the rows in `mask` bool [B] count."""
    where = None if mask is None else mask.reshape(mask.shape + (1,) * (x.ndim - 1))
    return norm(x, use_running_average=not batch_statistics, mask=where)


def max_pool(x: Array) -> Array:
    """The stem's 3x3 maximum with stride 2 and padding 1: [B, H, W, F] to [B, ceil(H/2), ceil(W/2), F]."""
    # nnx.max_pool starts from a Python scalar -inf; an array there would break reverse-mode differentiation.
    return nnx.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))  # pyright: ignore[reportArgumentType]


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return jax.nn.relu(x)


def _padding(size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    half = size // 2
    return (half, half), (half, half)
