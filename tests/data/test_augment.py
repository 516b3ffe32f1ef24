"""Decoding, cropping, flipping and resizing of single images."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from ltpml_jax.data import augment


def _coordinates(height: int, width: int) -> np.ndarray:
    """An image whose pixel (y, x) is (y, x, 0): a crop of it tells where it was cut."""
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)


def _encoded(rgb: np.ndarray, extension: str) -> bytes:
    return cv2.imencode(extension, rgb[..., ::-1])[1].tobytes()


def _smooth(height: int, width: int) -> np.ndarray:
    """A picture without fine detail, of which every corner looks different."""
    coarse = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _photo(height: int, width: int, mode: str = "RGB", kind: str = "JPEG", orientation: int = 1, **options) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(_smooth(height, width)).convert(mode).save(file, kind, exif=exif, **options)
    return file.getvalue()


def test_decode_png_returns_the_rgb_pixels():
    image = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
    np.testing.assert_array_equal(augment.decode(_encoded(image, ".png")), image)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [-1, -2, 0.9, 0.5, 0.02])
def test_a_jpeg_that_is_cut_off_is_a_value_error(progressive, kept):
    whole = _photo(60, 80, progressive=progressive)
    part = whole[: kept if kept < 0 else int(kept * len(whole))]
    for resize in augment.RESIZES.values():
        with pytest.raises(ValueError, match="not a readable image"):
            resize(part, augment.whole, 16)


def test_decode_jpeg_and_grey_png_give_three_channels():
    red = np.full((16, 16, 3), (200, 30, 10), np.uint8)
    assert np.abs(augment.decode(_encoded(red, ".jpg")).astype(int) - red).max() <= 3
    grey = cv2.imencode(".png", np.arange(12, dtype=np.uint8).reshape(3, 4))[1].tobytes()
    np.testing.assert_array_equal(
        augment.decode(grey), np.arange(12).reshape(3, 4, 1).repeat(3, axis=2).astype(np.uint8)
    )


@pytest.mark.parametrize("kept", [0, 1, 40, -9])
def test_decode_of_damaged_bytes_is_a_value_error_and_opencv_logs_nothing(kept, capfd):
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match="not a readable image"):
        augment.decode(_encoded(image, ".png")[:kept])
    assert "WARN:" not in capfd.readouterr().err  # libpng has a line of its own


@pytest.mark.parametrize("shape", [(64, 64), (37, 50), (11, 9)])
def test_crops_lie_inside_keep_their_sides_and_reach_everywhere(shape: tuple[int, int]):
    image = _coordinates(*shape)
    rng = np.random.default_rng(0)
    crops = [augment.draw_crop(*shape, rng, (0.8, 1.0), (0.5, 2.0)).cut(image) for _ in range(400)]
    for crop in crops:
        h, w = crop.shape[:2]
        assert 0.8 * shape[0] <= h <= shape[0] and 0.8 * shape[1] <= w <= shape[1]
        np.testing.assert_array_equal(crop, _coordinates(*shape)[crop[0, 0, 0] :, crop[0, 0, 1] :][:h, :w])
    heights = {crop.shape[0] for crop in crops}
    assert min(heights) == int(np.ceil(0.8 * shape[0])) and max(heights) == shape[0]
    assert min(crop[0, 0, 1] for crop in crops) == 0
    assert max(crop[-1, -1, 1] for crop in crops) == shape[1] - 1


@pytest.mark.parametrize(
    ("shape", "cut"), [((375, 500), (329, 438)), ((256, 256), (224, 224)), ((500, 375), (438, 329))]
)
def test_crops_of_one_size_lie_anywhere(shape, cut):
    rng = np.random.default_rng(0)
    boxes = [augment.draw_crop(*shape, rng, (0.875, 0.875), (0.001, 1000.0)) for _ in range(300)]
    assert {(box.height, box.width) for box in boxes} == {cut}
    for places, room in ((("top"), shape[0] - cut[0]), (("left"), shape[1] - cut[1])):
        found = {getattr(box, places) for box in boxes}
        assert min(found) == 0 and max(found) == room and len(found) > 20


def test_crop_sides_are_uniform():
    rng = np.random.default_rng(1)
    widths = [augment.draw_crop(100, 100, rng, (0.8, 1.0), (0.5, 2.0)).width for _ in range(2000)]
    counts = np.bincount(widths, minlength=101)[80:]
    expected = 2000 / 21
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 45.3  # 99.9% of chi-squared with 20 degrees of freedom


def test_crop_respects_the_ratio_of_width_to_height():
    rng = np.random.default_rng(0)
    for _ in range(200):
        box = augment.draw_crop(40, 100, rng, (0.5, 1.0), (0.5, 2.0))
        assert box.width / box.height <= 2.0
    # tall is allowed where wide is not
    assert augment.draw_crop(100, 40, rng, (0.8, 1.0), (0.1, 0.6)).height >= 80
    assert augment.draw_crop(40, 100, rng, (0.8, 1.0), (0.1, 0.6)) == augment.whole(40, 100)


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


def _corner(height: int, width: int) -> augment.Box:
    """A crop of 0.9 a side that is not in the middle."""
    return augment.Box(height // 20, width // 12, 9 * height // 10, 9 * width // 10)


def test_opencv_is_decode_crop_and_resize_and_pillow_is_what_pil_does():
    encoded = _photo(150, 200)
    box = _corner(150, 200)
    whole = Image.open(io.BytesIO(encoded))
    cut = whole.crop((box.left, box.top, box.left + box.width, box.top + box.height))
    expected = np.asarray(cut.resize((64, 64), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(augment.pillow(encoded, _corner, 64), expected)
    expected = augment.resize(np.asarray(cut), 64)
    np.testing.assert_array_equal(augment.opencv(encoded, _corner, 64), expected)


@pytest.mark.parametrize("size,factor", [(100, 1), (67, 2), (40, 2), (33, 4), (16, 8), (8, 8)])
def test_fast_decodes_a_jpeg_as_small_as_the_crop_allows(size, factor):
    """The crop is 135 x 180: at a half it has 67 pixels a side, at a quarter 33, at an eighth 16."""
    encoded = _photo(150, 200, quality=95)
    seen = augment.fast(encoded, _corner, size)
    if factor == 1:
        np.testing.assert_array_equal(seen, augment.opencv(encoded, _corner, size))
    reduced = Image.open(io.BytesIO(encoded))
    reduced.draft("RGB", (200 // factor, 150 // factor))
    box = _corner(150, 200).reduced(factor)
    expected = augment.resize(box.cut(np.asarray(reduced)), size)
    np.testing.assert_array_equal(seen, expected)
    # It is the same part of the picture: as near as another way of resizing comes.
    area = cv2.resize(_corner(150, 200).cut(_smooth(150, 200)), (size, size), interpolation=cv2.INTER_AREA)
    assert np.abs(seen.astype(int) - area).mean() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [64, 16])
def test_every_setting_turns_an_image_as_its_exif_orientation_says(orientation, size):
    encoded = _photo(150, 200, orientation=orientation, quality=95)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    Image.fromarray(np.asarray(upright)).save(file := io.BytesIO(), "PNG")
    for resize in augment.RESIZES.values():
        seen, expected = (resize(image, _corner, size).astype(int) for image in (encoded, file.getvalue()))
        assert np.abs(seen - expected).mean() < 8
    np.testing.assert_array_equal(augment.decode(encoded), np.asarray(upright))


@pytest.mark.parametrize("mode,kind", [("L", "JPEG"), ("CMYK", "JPEG"), ("L", "PNG"), ("RGBA", "PNG"), ("P", "PNG")])
def test_other_kinds_of_images_become_rgb_in_every_setting(mode, kind):
    encoded = _photo(150, 200, mode, kind)
    meant = np.asarray(Image.fromarray(_smooth(150, 200)).convert(mode).convert("RGB"))
    expected = cv2.resize(meant, (32, 32), interpolation=cv2.INTER_AREA)
    for resize in augment.RESIZES.values():
        seen = resize(encoded, augment.whole, 32)
        assert seen.shape == (32, 32, 3) and seen.dtype == np.uint8 and seen.flags.c_contiguous
        assert np.abs(seen.astype(int) - expected).mean() < 8


def test_small_pngs_are_the_same_in_fast_and_opencv():
    encoded = _encoded(_smooth(64, 64), ".png")
    np.testing.assert_array_equal(augment.fast(encoded, _corner, 64), augment.opencv(encoded, _corner, 64))


def test_a_box_in_a_reduced_image_covers_the_box():
    for top, left, height, width in np.random.default_rng(0).integers(1, 300, (200, 4)).tolist():
        for factor in (2, 4, 8):
            small = augment.Box(top, left, height, width).reduced(factor)
            assert small.top * factor <= top < (small.top + 1) * factor
            assert 0 <= (small.left + small.width) * factor - (left + width) < factor
            assert 0 <= (small.top + small.height) * factor - (top + height) < factor
