"""Photometric distortion and normalisation on the device, inside the jitted step.

The distortion is the one of SSD that the reference uses. Colour ops act in HSV without clipping, as there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
_PERMUTATIONS = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]], np.int32)


class JitterSpec(NamedTuple):
    """Strengths of the distortion; each op is applied to a sample with probability 1/2."""

    brightness: float  # added, uniform in +- this, in units of 0..255
    contrast: tuple[float, float]  # factor range, above 0
    saturation: tuple[float, float]  # factor range
    hue: float  # uniform in +- this, in degrees
    channel_shuffle: bool


class Draw(NamedTuple):
    """What is done to each sample: arrays [B], and [B,3] for the channels."""

    offset: jax.Array
    contrast: jax.Array
    saturation: jax.Array
    hue: jax.Array  # degrees
    channels: jax.Array  # int32 [B,3]: output channel c is input channel channels[b, c]


def draw(key: jax.Array, batch: int, spec: JitterSpec) -> Draw:
    """One draw a sample. Each sample has its own key, so no sharding of the batch can change it."""
    uniform = jax.vmap(lambda sample: jax.random.uniform(sample, (10,)))(jax.random.split(key, batch))
    on = uniform[:, :5] < 0.5
    strength = uniform[:, 5:]

    def between(column: int, low: float, high: float, identity: float) -> jax.Array:
        return jnp.where(on[:, column], low + (high - low) * strength[:, column], identity)

    # uniform is below 1, but times 6 it may round up to 6
    which = jnp.minimum((strength[:, 4] * 6).astype(jnp.int32), 5)
    shuffled = on[:, 4] & spec.channel_shuffle
    return Draw(
        offset=between(0, -spec.brightness, spec.brightness, 0.0),
        contrast=between(1, *spec.contrast, identity=1.0),
        saturation=between(2, *spec.saturation, identity=1.0),
        hue=between(3, -spec.hue, spec.hue, 0.0),
        channels=jnp.asarray(_PERMUTATIONS)[jnp.where(shuffled, which, 0)],
    )


def apply(images: jax.Array, drawn: Draw) -> jax.Array:
    """Images float32 [B,H,W,3] distorted as drawn: brightness, contrast, saturation, hue, channels.

    The reference draws whether contrast comes before or after the colour ops. That makes no difference:
    both colour ops commute with a positive factor, and nothing is clipped between them.
    """

    def wide(values: jax.Array) -> jax.Array:
        return values[:, None, None]

    scaled = (images + wide(drawn.offset)[..., None]) * wide(drawn.contrast)[..., None]
    # Planes [B,H,W] from here on: arithmetic along an innermost axis of 3 does not vectorise.
    planes = [scaled[..., channel] for channel in range(3)]
    planes = _saturate_and_rotate(planes, wide(drawn.saturation), wide(drawn.hue))
    picked = [_select(planes, wide(drawn.channels[:, channel])) for channel in range(3)]
    return jnp.stack(picked, axis=-1)


def distort(key: jax.Array, images: jax.Array, spec: JitterSpec) -> jax.Array:
    """Photometric distortion of float32 [B,H,W,3] in 0..255; the result may leave that range."""
    return apply(images, draw(key, images.shape[0], spec))


def normalise(images: jax.Array) -> jax.Array:
    """(x / 255 - mean) / std with ImageNet's constants; [..., 3] in 0..255 to float32."""
    mean, std = (channel.reshape((1,) * (images.ndim - 1) + (3,)) for channel in (IMAGENET_MEAN, IMAGENET_STD))
    return (images.astype(jnp.float32) / 255.0 - mean) / std


def _saturate_and_rotate(rgb: list[jax.Array], saturation: jax.Array, degrees: jax.Array) -> list[jax.Array]:
    """HSV with saturation times a factor and hue plus an angle, back in RGB.

    With value V = max and chroma D = max - min, channel n of a colour of hue h (in sixths of a turn) is
    V - D * clip(min(t, 4 - t), 0, 1), t = (n + h) mod 6, n = 5, 3, 1 for red, green and blue.
    """
    r, g, b = rgb
    value = jnp.maximum(jnp.maximum(r, g), b)
    chroma = value - jnp.minimum(jnp.minimum(r, g), b)
    per_chroma = 1.0 / jnp.where(chroma > 0, chroma, 1.0)
    not_red = jnp.where(value == g, (b - r) * per_chroma + 2, (r - g) * per_chroma + 4)
    sector = jnp.where(value == r, (g - b) * per_chroma, not_red) + degrees / 60.0

    def channel(n: int) -> jax.Array:
        turn = sector + n
        turn = turn - 6.0 * jnp.floor(turn / 6.0)
        return value - saturation * chroma * jnp.clip(jnp.minimum(turn, 4.0 - turn), 0.0, 1.0)

    return [channel(5), channel(3), channel(1)]


def _select(planes: list[jax.Array], which: jax.Array) -> jax.Array:
    return jnp.where(which == 0, planes[0], jnp.where(which == 1, planes[1], planes[2]))
