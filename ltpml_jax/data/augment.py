"""From encoded images to training pixels, on the host, one image at a time (uint8 [H,W,3], RGB).

OpenCV decodes in every task, so that all treat an image alike: turned as its EXIF orientation says, grey and CMYK
to RGB, transparency dropped, 16 bits to 8. The settings differ in how a crop becomes the target's size; see RESIZES.
"""

import io
import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

_CROP_TRIES = 50
# Factor -> flag, for BGR (reduced images come in no other order). JPEG's blocks of 8x8 frequencies are then
# transformed to 4x4, 2x2 or 1x1 pixels: less arithmetic, and no aliasing.
_REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR_BGR,
}

# Images are read by several threads already. OpenCV's own, beside them, cost more in switching than they save.
cv2.setNumThreads(0)
# What cannot be read is one sentence of ours: no line of OpenCV's (4, and 5) beside it.
_set_log_level: Callable[[int], object] = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
_set_log_level(0)


class Box(NamedTuple):
    """A part of an image, in whole pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        """A view of this part of image [H,W,3]."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]

    def reduced(self, factor: int) -> "Box":
        """This part in the image reduced by the factor, out to whole pixels."""
        top, left = self.top // factor, self.left // factor
        bottom, right = -(-(self.top + self.height) // factor), -(-(self.left + self.width) // factor)
        return Box(top, left, bottom - top, right - left)


Crop = Callable[[int, int], Box]  # (height, width) of an image -> what to keep of it; asked once an image
Resize = Callable[[bytes, Crop, int], np.ndarray]  # (encoded image, crop, side S) -> uint8 [S,S,3]


def decode(encoded: bytes) -> np.ndarray:
    """uint8 [H,W,3] RGB of an encoded PNG, JPEG or another image that OpenCV reads.

    Raises:
        ValueError: the bytes are not a whole image (a JPEG cut off anywhere is none).
    """
    return _read(encoded, cv2.IMREAD_COLOR_RGB)


def _read(encoded: bytes, flags: int) -> np.ndarray:
    buffer = np.frombuffer(encoded, np.uint8)
    try:
        # OpenCV raises on an empty buffer or an enormous image, but returns None for one it cannot read.
        image = cv2.imdecode(buffer, flags)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError(f"{len(encoded)} bytes that are not a readable image")
    return image


def whole(height: int, width: int) -> Box:
    """The crop that keeps everything."""
    return Box(0, 0, height, width)


def draw_crop(
    height: int, width: int, rng: np.random.Generator, sides: tuple[float, float], ratio: tuple[float, float]
) -> Box:
    """A random crop: each side uniform in the range `sides` of the image's, width / height in `ratio`.

    Sides are whole pixels, never below the least. They are drawn until the ratio fits; an image so long
    that this does not happen in 50 tries is kept whole.
    """

    def draw(side: int) -> int:
        least = math.ceil(sides[0] * side)
        return int(rng.integers(least, max(least, math.floor(sides[1] * side)), endpoint=True))

    for _ in range(_CROP_TRIES):
        h, w = draw(height), draw(width)
        if ratio[0] <= w / h <= ratio[1]:
            top = int(rng.integers(0, height - h, endpoint=True))
            left = int(rng.integers(0, width - w, endpoint=True))
            return Box(top, left, h, w)
    return whole(height, width)


def flip(image: np.ndarray, rng: np.random.Generator, probability: float) -> np.ndarray:
    """The image mirrored left to right, with the given probability; contiguous, as NumPy stacks views slowly."""
    return cv2.flip(image, 1) if rng.random() < probability else image


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 [size,size,3] by OpenCV, bilinear, the aspect ratio not kept."""
    if image.shape[:2] == (size, size):
        return np.ascontiguousarray(image)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)


def opencv(encoded: bytes, crop: Crop, size: int) -> np.ndarray:
    """The reference's pixels: decoded whole, cropped, resized by OpenCV. Raises as `decode`, like the rest."""
    image = decode(encoded)
    return resize(crop(*image.shape[:2]).cut(image), size)


def pillow(encoded: bytes, crop: Crop, size: int) -> np.ndarray:
    """The pixels of PIL, so of torchvision on PIL images: decoded whole, cropped, resized bilinear, antialiased."""
    image = decode(encoded)
    part = np.ascontiguousarray(crop(*image.shape[:2]).cut(image))
    return np.array(Image.fromarray(part).resize((size, size), Image.Resampling.BILINEAR))


def fast(encoded: bytes, crop: Crop, size: int) -> np.ndarray:
    """As `opencv`, but JPEGs are decoded at 1/2, 1/4 or 1/8 where the crop then still has `size` pixels a side.

    The crop is the one of the other settings, up to the rounding to pixels of the reduced image.
    """
    shape = shown_shape(encoded)
    if shape is None:
        return opencv(encoded, crop, size)
    box = crop(*shape)
    factor = next((f for f in _REDUCED if min(box.height, box.width) >= f * size), 1)
    image = _read(encoded, _REDUCED[factor])
    if image.shape[:2] != whole(*shape).reduced(factor)[2:]:  # an EXIF header that not all readers understand
        return opencv(encoded, crop, size)
    return cv2.cvtColor(resize(box.reduced(factor).cut(image), size), cv2.COLOR_BGR2RGB)


# config.data.resize -> how an image becomes pixels.
RESIZES: dict[str, Resize] = {"opencv": opencv, "pillow": pillow, "fast": fast}


_APP1 = 0xE1
# Start of frame, sequential or progressive, Huffman or arithmetic: table B.1 of ITU-T T.81.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ORIENTATION = 0x0112
_TURNED = range(5, 9)  # orientations that lay the image on its side


def shown_shape(encoded: bytes) -> tuple[int, int] | None:
    """(height, width) of a JPEG as it is shown, so turned by EXIF; None where the bytes are no JPEG or a broken one."""
    if not encoded.startswith(b"\xff\xd8"):
        return None
    start, exif = 2, False
    while encoded[start : start + 1] == b"\xff" and start + 9 <= len(encoded):
        marker, body = encoded[start + 1], start + 4
        if marker in _FRAMES:
            height, width = (int.from_bytes(encoded[at : at + 2], "big") for at in (body + 1, body + 3))
            return (width, height) if exif and _is_turned(encoded) else (height, width)
        exif = exif or (marker == _APP1 and encoded.startswith(b"Exif", body))
        start += 2 + int.from_bytes(encoded[start + 2 : body], "big")
    return None


def _is_turned(encoded: bytes) -> bool:
    try:
        return Image.open(io.BytesIO(encoded), formats=("JPEG",)).getexif().get(_ORIENTATION) in _TURNED
    except Exception:  # EXIF breaks in many ways, and then turns nothing
        return False
