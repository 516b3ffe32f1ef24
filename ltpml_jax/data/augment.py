"""Decoding and the geometric augmentation, on the host, one image at a time (uint8 [H,W,3], RGB)."""

import math

import cv2
import numpy as np

_CROP_TRIES = 50


def decode(encoded: bytes) -> np.ndarray:
    """uint8 [H,W,3] RGB of an encoded PNG or JPEG.

    Raises:
        ValueError: the bytes are not a whole image.
    """
    buffer = np.frombuffer(encoded, np.uint8)
    # OpenCV raises on an empty buffer but returns None for one it cannot read.
    image = cv2.imdecode(buffer, cv2.IMREAD_COLOR_RGB) if len(buffer) else None
    if image is None:
        raise ValueError(f"{len(encoded)} bytes that are not a readable image")
    return image


def random_crop(image: np.ndarray, rng: np.random.Generator, min_side: float, ratio: tuple[float, float]) -> np.ndarray:
    """A view of a random crop: each side uniform in [min_side, 1] of the image's, width / height in `ratio`.

    Sides are whole pixels, never below min_side. They are drawn until the ratio fits; an image so long
    that this does not happen in 50 tries is returned whole.
    """
    height, width = image.shape[:2]
    for _ in range(_CROP_TRIES):
        h = int(rng.integers(math.ceil(min_side * height), height, endpoint=True))
        w = int(rng.integers(math.ceil(min_side * width), width, endpoint=True))
        if ratio[0] <= w / h <= ratio[1]:
            top = int(rng.integers(0, height - h, endpoint=True))
            left = int(rng.integers(0, width - w, endpoint=True))
            return image[top : top + h, left : left + w]
    return image


def flip(image: np.ndarray, rng: np.random.Generator, probability: float) -> np.ndarray:
    """The image mirrored left to right, with the given probability; a view."""
    return image[:, ::-1] if rng.random() < probability else image


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 [size,size,3], bilinear, the aspect ratio not kept (the reference resizes with OpenCV too)."""
    if image.shape[:2] == (size, size):
        return np.ascontiguousarray(image)
    return cv2.resize(np.ascontiguousarray(image), (size, size), interpolation=cv2.INTER_LINEAR)
