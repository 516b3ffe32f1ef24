"""The images of an audit: their bytes as prepared, and thumbnails for the page."""

import base64
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ltpml_jax.data import augment
from ltpml_jax.data.records import Records

FOLDER = "images"
SIDE = 128  # pixels of a thumbnail's longer side
_QUALITY = 78


class Picture(NamedTuple):
    """One image of the training split: path below the audit's folder, width and height in pixels, a data URI."""

    row: int
    id: str
    path: str
    width: int
    height: int
    thumbnail: str


def write(records: Records, rows: np.ndarray, folder: Path) -> list[Picture]:
    """Write the bytes of some images to folder/images; OSError where that cannot be.

    Files are numbered, because an id may be anything.
    """
    (folder / FOLDER).mkdir()
    found = []
    for row in rows.tolist():
        record = records[row]
        encoded = record["image"]
        suffix = "png" if encoded.startswith(b"\x89PNG") else "jpg"
        path = f"{FOLDER}/{records.split}-{row:07d}.{suffix}"
        (folder / path).write_bytes(encoded)
        pixels = augment.decode(encoded)
        found.append(Picture(row, record["id"], path, pixels.shape[1], pixels.shape[0], thumbnail(pixels)))
    return found


def thumbnail(pixels: np.ndarray) -> str:
    """A small JPEG of an image uint8 [H, W, 3] RGB, as a data URI."""
    height, width = pixels.shape[:2]
    scale = min(SIDE / max(height, width), 1)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
