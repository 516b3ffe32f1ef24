"""Photometric distortion against colorsys and by hand; and that no sharding changes it."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ltpml_jax import photometric
from ltpml_jax.photometric import Draw, JitterSpec
from tests.helpers.compiled import Compiled

photometric = Compiled(photometric)

pytestmark = pytest.mark.usefixtures("least_optimised")

FULL = JitterSpec(32.0, (0.5, 1.5), (0.5, 1.5), 18.0, True)
NONE = JitterSpec(0.0, (1.0, 1.0), (1.0, 1.0), 0.0, False)
KEY = jax.random.key(0)


def _images(batch: int, side: int = 6, seed: int = 0) -> np.ndarray:
    shape = (batch, side, side, 3)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)


def _drawn(batch: int, **changes) -> Draw:
    ones, zeros = np.ones(batch, np.float32), np.zeros(batch, np.float32)
    plain = {"offset": zeros, "contrast": ones, "saturation": ones, "hue": zeros}
    plain["channels"] = np.tile(np.arange(3, dtype=np.int32), (batch, 1))
    return Draw(**plain | {name: np.array(value, plain[name].dtype) for name, value in changes.items()})  # type: ignore[arg-type]


def _colorsys(image: np.ndarray, saturation: float, degrees: float) -> np.ndarray:
    pixels = []
    for rgb in np.asarray(image).reshape(-1, 3) / 255.0:
        h, s, v = colorsys.rgb_to_hsv(*rgb)
        pixels.append(colorsys.hsv_to_rgb((h + degrees / 360.0) % 1.0, s * saturation, v))
    return np.array(pixels).reshape(image.shape) * 255.0


@pytest.mark.parametrize("saturation,degrees", [(0.5, 0.0), (1.0, 18.0), (1.0, -18.0), (0.7, 170.0), (0.0, 5.0)])
def test_saturation_and_hue_are_those_of_colorsys(saturation, degrees):
    images = _images(1, side=16)
    got = photometric.apply(images, _drawn(1, saturation=[saturation], hue=[degrees]))
    np.testing.assert_allclose(got[0], _colorsys(images[0], saturation, degrees), atol=2e-3)


def test_saturation_above_one_agrees_where_colorsys_needs_no_clipping():
    images = 128 + (_images(1, side=16) - 128) * 0.2  # pale colours: saturation * 1.5 stays below 1
    got = photometric.apply(images, _drawn(1, saturation=[1.5], hue=[11.0]))
    np.testing.assert_allclose(got[0], _colorsys(images[0], 1.5, 11.0), atol=2e-3)


def test_hue_of_pure_colours_and_greys():
    image = np.float32([[[[200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0], [50, 50, 50], [0, 0, 0]]]])
    turned = photometric.apply(image, _drawn(1, hue=[120.0]))
    expected = [[[[0, 200, 0], [0, 0, 200], [200, 0, 0], [0, 200, 200], [50, 50, 50], [0, 0, 0]]]]
    np.testing.assert_allclose(turned, expected, atol=1e-3)


def test_saturation_keeps_the_value_and_scales_the_distance_to_it():
    image = np.float32([[[[-10, 250, 300]]]])  # out of 0..255, as after brightness
    got = photometric.apply(image, _drawn(1, saturation=[1.5]))
    np.testing.assert_allclose(got, [[[[300 - 1.5 * 310, 300 - 1.5 * 50, 300]]]], atol=1e-3)


def test_brightness_contrast_and_channels_by_hand():
    images = np.float32([[[[10, 20, 250]]]] * 3)
    drawn = _drawn(3, offset=[32.0, 0.0, -20.0], contrast=[1.0, 0.5, 1.5], channels=[[0, 1, 2], [2, 0, 1], [0, 2, 1]])
    expected = [[[[42.0, 52, 282]]], [[[125.0, 5, 10]]], [[[-15.0, 345, 0]]]]
    np.testing.assert_allclose(photometric.apply(images, drawn), expected, atol=1e-3)


def test_contrast_before_and_after_the_colour_ops_are_the_same():
    images = _images(2)
    colour = _drawn(2, saturation=[0.6, 1.4], hue=[15.0, -9.0])
    contrast = _drawn(2, contrast=[0.5, 1.5])
    before = photometric.apply(photometric.apply(images, contrast), colour)
    after = photometric.apply(photometric.apply(images, colour), contrast)
    np.testing.assert_allclose(before, after, atol=2e-3)


def test_strengths_of_nothing_change_nothing():
    images = _images(16)
    np.testing.assert_allclose(photometric.distort(KEY, images, NONE), images, atol=1e-3)


def test_draws_keep_their_ranges_and_apply_each_op_to_half_of_the_samples():
    n = 4000
    drawn = jax.jit(photometric.draw, static_argnums=(1, 2))(KEY, n, FULL)
    ranges = {
        "offset": (-32, 32, 0),
        "contrast": (0.5, 1.5, 1),
        "saturation": (0.5, 1.5, 1),
        "hue": (-18, 18, 0),
    }
    on = {}
    for name, (low, high, identity) in ranges.items():
        values = np.asarray(getattr(drawn, name))
        on[name] = values != identity
        near = 0.02 * (high - low)
        assert low <= values.min() < low + near and high >= values.max() > high - near
        assert abs(on[name].mean() - 0.5) < 4 * 0.5 / np.sqrt(n)
        used = values[on[name]]
        assert abs(used.mean() - (low + high) / 2) < 4 * (high - low) / np.sqrt(12 * len(used))
    correlations = np.corrcoef(np.stack([flag.astype(float) for flag in on.values()]))
    assert np.abs(correlations - np.eye(4)).max() < 4.5 / np.sqrt(n)
    _, counts = np.unique(np.asarray(drawn.channels), axis=0, return_counts=True)
    expected = n * np.array([7, 1, 1, 1, 1, 1]) / 12  # half stay; one shuffle of six is the identity
    assert ((counts - expected) ** 2 / expected).sum() < 20.5  # 99.9% of chi-squared, 5 degrees of freedom


def test_every_sample_has_its_own_draw_and_every_key_another():
    images = np.tile(_images(1), (8, 1, 1, 1))
    first, second = (np.asarray(photometric.distort(jax.random.key(k), images, FULL)) for k in (0, 1))
    assert len({sample.tobytes() for sample in first}) >= 7  # two samples may both have no op
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, photometric.distort(jax.random.key(0), images, FULL))


def test_a_sample_is_distorted_the_same_whatever_else_is_in_the_batch():
    images, others = _images(8), _images(8, seed=1)
    others[3] = images[3]
    both = [np.asarray(photometric.distort(KEY, batch, FULL))[3] for batch in (images, others)]
    np.testing.assert_array_equal(*both)


@pytest.mark.parametrize("devices", [2, 8])
def test_one_device_and_a_mesh_give_equal_results(devices):
    distort = jax.jit(photometric.distort, static_argnums=2)
    images = _images(16)
    sharding = NamedSharding(Mesh(np.array(jax.devices()[:devices]), ("data",)), PartitionSpec("data"))
    sharded = distort(KEY, jax.device_put(images, sharding), FULL)
    np.testing.assert_array_equal(distort(KEY, images, FULL), sharded)


def test_normalise_uses_the_statistics_of_imagenet():
    pixel = np.float32([255 * 0.485, 255 * (0.456 + 0.224), 0])
    np.testing.assert_allclose(photometric.normalise(pixel), [0.0, 1.0, -0.406 / 0.225], atol=1e-5)
    assert photometric.normalise(np.zeros((2, 2, 3), np.uint8)).dtype == jnp.float32
