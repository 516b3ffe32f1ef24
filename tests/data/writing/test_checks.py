"""Faults of image files: each kind of damage is found and named in a few words."""

import io

import pytest
from PIL import Image

from ltpml_jax.data.writing import checks
from tests.helpers.trees import photograph

PHOTO = photograph(0, (320, 240))


def encoded(form: str, mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(PHOTO)).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def small(form: str, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        PHOTO,
        encoded("JPEG", progressive=True),
        encoded("JPEG", "L"),
        encoded("JPEG", "CMYK"),
        encoded("PNG"),
        encoded("PNG", "RGBA"),
        encoded("PNG", "P"),
        encoded("PNG", "1"),
        small("JPEG", (640, 5)),
        small("JPEG", (1, 1)),
        small("PNG", (1, 700)),
    ],
)
def test_whole_images_have_no_fault(data):
    assert checks.fault(data) == ""


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("kept", [0.01, 0.3, 0.9, 0.999])
def test_files_that_end_early_are_found(form, kept):
    whole = encoded(form)
    assert checks.fault(whole[: int(kept * len(whole))])


def test_a_jpeg_without_its_last_byte_is_found():
    assert "truncated" in checks.fault(PHOTO[:-2])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"<html>404 not found</html>", "not an image file"),
        (bytes(5000), "not an image file"),
        (encoded("GIF"), "a GIF file, neither JPEG nor PNG"),
        (encoded("BMP"), "a BMP file, neither JPEG nor PNG"),
    ],
)
def test_other_files_are_named(data, reason):
    assert checks.fault(data) == reason


def test_an_image_that_would_fill_the_memory_is_refused():
    header = bytearray(encoded("PNG"))
    header[16:24] = (100_000).to_bytes(4, "big") * 2  # width and height of IHDR; its checksum is then wrong too
    assert checks.fault(bytes(header))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "BMP", "TIFF", "ICO"])
def test_other_formats_are_of_another_kind_and_not_corrupt(form):
    assert checks.kind(checks.fault(encoded(form))) == "of another kind"


def test_images_are_counted_by_kind():
    reasons = ["missing", "truncated", checks.fault(encoded("GIF")), "missing"]
    assert checks.counted(reasons) == "2 missing, 1 corrupt, 1 of another kind"
    assert checks.counted(reasons[:2], "are ") == "1 are missing, 1 corrupt"
