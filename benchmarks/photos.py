"""JPEGs that cost as much to decode as photographs, and a prepared dataset of them."""

from pathlib import Path

import cv2
import numpy as np

from ltpml_jax.data import datasets
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.writing import writer

QUALITY = 94  # with the texture below, 500x375 pixels take 75 KB, as those of PASCAL VOC do
CLASSES = 20


def photo(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """uint8 [H,W,3]: noise at seven scales, mostly grey, and grain; like photographs, strong where it is coarse."""
    image = np.full((height, width, 3), 128, np.float32)
    for scale in 2 ** np.arange(1, 8):
        coarse = rng.normal(size=(max(2, height * scale // 512), max(2, width * scale // 512), 3))
        coarse = 1.2 * coarse.mean(2, keepdims=True) + 0.5 * coarse
        image += (
            70 / scale**0.55 * cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        )
    image += rng.normal(scale=4.5, size=(height, width, 1))
    return image.clip(0, 255).astype(np.uint8)


def write(folder: Path, images: int, width: int, height: int) -> list[Path]:
    """Writes the JPEGs photo-00000.jpg ... and returns their paths."""
    paths = [folder / f"photo-{number:05d}.jpg" for number in range(images)]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), photo(np.random.default_rng(number), width, height), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return paths


def prepare(paths: list[Path], out: Path) -> datasets.Dataset:
    """The images as a prepared dataset below `out`, with one label each; the test split is the first image."""
    states = np.eye(CLASSES, dtype=np.int8)[np.arange(len(paths)) % CLASSES]
    splits = {
        name: ListedSplit([path.name for path in paths[:count]], [str(path) for path in paths[:count]], states[:count])
        for name, count in {"train": len(paths), "test": 1}.items()
    }
    listing = Listing(tuple(f"class {number}" for number in range(CLASSES)), splits)
    writer.write("photos", listing, out, jobs=1)
    return datasets.load("photos", str(out))
