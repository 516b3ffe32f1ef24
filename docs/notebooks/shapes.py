"""Pictures of shapes for the notebooks beside this file: they need labels whose truth is known, and no download."""

from pathlib import Path

import cv2
import numpy as np

NAMES = ("circle", "square", "triangle", "cross")
SHARES = (0.6, 0.45, 0.3, 0.15)  # of the pictures that have the shape: the last ones are rare
SIDE = 32  # pixels


def draw(present: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture uint8 [32, 32, 3], RGB, of the shapes that are set in `present` (int [4]), each in another quarter."""
    picture = rng.integers(0, 90, (SIDE, SIDE, 3)).astype(np.uint8)
    quarters = rng.permutation([(8, 8), (8, 24), (24, 8), (24, 24)])
    for shape, middle in zip(np.flatnonzero(present), quarters, strict=False):
        x, y = (middle + rng.integers(-2, 3, 2)).tolist()
        size, colour = int(rng.integers(4, 6)), rng.integers(130, 256, 3).tolist()
        left, right, top, bottom = x - size, x + size, y - size, y + size
        if NAMES[shape] == "circle":
            cv2.circle(picture, (x, y), size, colour, -1)
        elif NAMES[shape] == "square":
            cv2.rectangle(picture, (left, top), (right, bottom), colour, -1)
        elif NAMES[shape] == "triangle":
            cv2.fillPoly(picture, [np.array([(x, top), (left, bottom), (right, bottom)], np.int32)], colour)
        else:
            cv2.line(picture, (left, y), (right, y), colour, 2)
            cv2.line(picture, (x, top), (x, bottom), colour, 2)
    return picture


def draw_many(count: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """So many pictures, and their true labels int8 [count, 4]; every picture has a shape."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, len(NAMES))) < SHARES).astype(np.int8)
    empty = np.flatnonzero(labels.sum(1) == 0)
    labels[empty, rng.integers(0, len(NAMES), len(empty))] = 1
    return [draw(row, rng) for row in labels], labels


def save(pictures: list[np.ndarray], folder: Path, prefix: str) -> list[str]:
    """Write them as PNG files, and return their names, PREFIX0.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{prefix}{number}.png" for number in range(len(pictures))]
    for name, picture in zip(names, pictures, strict=True):
        cv2.imwrite(str(folder / name), picture[..., ::-1])  # OpenCV writes BGR
    return names
