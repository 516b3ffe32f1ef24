"""Decoding, cropping, flipping and resizing of single images."""

import cv2
import numpy as np
import pytest

from ltpml_jax.data import augment


def _coordinates(height: int, width: int) -> np.ndarray:
    """An image whose pixel (y, x) is (y, x, 0): a crop of it tells where it was cut."""
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)


def _encoded(rgb: np.ndarray, extension: str) -> bytes:
    return cv2.imencode(extension, rgb[..., ::-1])[1].tobytes()


def test_decode_png_returns_the_rgb_pixels():
    image = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
    np.testing.assert_array_equal(augment.decode(_encoded(image, ".png")), image)


def test_decode_jpeg_and_grey_png_give_three_channels():
    red = np.full((16, 16, 3), (200, 30, 10), np.uint8)
    assert np.abs(augment.decode(_encoded(red, ".jpg")).astype(int) - red).max() <= 3
    grey = cv2.imencode(".png", np.arange(12, dtype=np.uint8).reshape(3, 4))[1].tobytes()
    np.testing.assert_array_equal(
        augment.decode(grey), np.arange(12).reshape(3, 4, 1).repeat(3, axis=2).astype(np.uint8)
    )


@pytest.mark.parametrize("kept", [0, 1, 40, -9])
def test_decode_of_damaged_bytes_is_a_value_error(kept):
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match="not a readable image"):
        augment.decode(_encoded(image, ".png")[:kept])


@pytest.mark.parametrize("shape", [(64, 64), (37, 50), (11, 9)])
def test_crops_lie_inside_keep_their_sides_and_reach_everywhere(shape):
    image = _coordinates(*shape)
    rng = np.random.default_rng(0)
    crops = [augment.random_crop(image, rng, 0.8, (0.5, 2.0)) for _ in range(400)]
    for crop in crops:
        h, w = crop.shape[:2]
        assert 0.8 * shape[0] <= h <= shape[0] and 0.8 * shape[1] <= w <= shape[1]
        np.testing.assert_array_equal(crop, _coordinates(*shape)[crop[0, 0, 0] :, crop[0, 0, 1] :][:h, :w])
    heights = {crop.shape[0] for crop in crops}
    assert min(heights) == int(np.ceil(0.8 * shape[0])) and max(heights) == shape[0]
    assert min(crop[0, 0, 1] for crop in crops) == 0
    assert max(crop[-1, -1, 1] for crop in crops) == shape[1] - 1


def test_crop_sides_are_uniform():
    rng = np.random.default_rng(1)
    widths = [augment.random_crop(_coordinates(100, 100), rng, 0.8, (0.5, 2.0)).shape[1] for _ in range(2000)]
    counts = np.bincount(widths, minlength=101)[80:]
    expected = 2000 / 21
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 45.3  # 99.9% of chi-squared with 20 degrees of freedom


def test_crop_respects_the_ratio_of_width_to_height():
    rng = np.random.default_rng(0)
    for _ in range(200):
        h, w = augment.random_crop(_coordinates(40, 100), rng, 0.5, (0.5, 2.0)).shape[:2]
        assert w / h <= 2.0
    # tall is allowed where wide is not
    assert augment.random_crop(_coordinates(100, 40), rng, 0.8, (0.1, 0.6)).shape[0] >= 80
    whole = augment.random_crop(_coordinates(40, 100), rng, 0.8, (0.1, 0.6))
    assert whole.shape == (40, 100, 3)


def test_flip_mirrors_left_to_right_with_its_probability():
    image, rng = _coordinates(4, 6), np.random.default_rng(0)
    np.testing.assert_array_equal(augment.flip(image, rng, 1.0), image[:, ::-1])
    np.testing.assert_array_equal(augment.flip(image, rng, 0.0), image)
    flipped = sum(augment.flip(image, rng, 0.3)[0, 0, 1] == 5 for _ in range(2000))
    assert abs(flipped - 600) < 4 * np.sqrt(2000 * 0.3 * 0.7)


def test_resize_is_bilinear_and_ignores_the_ratio():
    ramp = np.repeat(np.array([[0, 100]], np.uint8), 3, axis=0)[..., None].repeat(3, axis=2)  # 3 x 2
    resized = augment.resize(ramp, 4)
    assert resized.shape == (4, 4, 3)
    # pixel centres at -0.25, 0.25, 0.75, 1.25 of the two columns
    np.testing.assert_array_equal(resized[..., 0], np.tile(np.array([0, 25, 75, 100], np.uint8), (4, 1)))


def test_resize_of_a_view_of_the_right_size_keeps_the_pixels():
    mirrored = _coordinates(8, 8)[:, ::-1]
    resized = augment.resize(mirrored, 8)
    np.testing.assert_array_equal(resized, mirrored)
    assert resized.flags.c_contiguous
