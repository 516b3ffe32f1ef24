"""The shape of a JPEG from its header."""

import io

import numpy as np
import pytest
from PIL import Image

from ltpml_jax.data import augment

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)


def encoded(mode: str = "RGB", kind: str = "JPEG", orientation: int = 0, **options) -> bytes:
    """The 50 x 30 image in a file; orientation 0 for a file without EXIF."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    options = options | ({"exif": exif} if orientation else {})
    Image.fromarray(PIXELS).convert(mode).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"comment": b"x" * 3000}, {"icc_profile": b"y" * 90_000}]
)
def test_the_shape_is_height_and_width(mode, options):
    assert augment.shown_shape(encoded(mode, **options)) == (30, 50)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_five_to_eight_lay_the_image_on_its_side(orientation):
    assert augment.shown_shape(encoded(orientation=orientation)) == ((30, 50) if orientation < 5 else (50, 30))


def test_what_is_no_jpeg_or_ends_in_its_header_has_no_shape():
    assert augment.shown_shape(encoded(kind="PNG")) is None
    assert augment.shown_shape(b"") is None
    whole = encoded()
    shapes = [augment.shown_shape(whole[:kept]) for kept in range(len(whole))]
    assert shapes[:100] == [None] * 100 and set(shapes) == {None, (30, 50)}


def test_broken_exif_turns_nothing():
    broken = encoded(orientation=6).replace(b"Exif\0\0MM", b"Exif\0\0??").replace(b"Exif\0\0II", b"Exif\0\0??")
    assert augment.shown_shape(broken) == (30, 50)


def test_random_bytes_after_the_magic_raise_nothing():
    rng = np.random.default_rng(1)
    for _ in range(500):
        noise = rng.integers(0, 256, 200, np.uint8)
        noise[::4] = 0xFF
        augment.shown_shape(b"\xff\xd8" + noise.tobytes())
