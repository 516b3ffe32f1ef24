"""Handwritten digits composed on photographs into multi-object scenes (numpy and OpenCV only).

The material is scikit-learn's: 1,797 digits of 8x8 pixels and two photographs. Each part of the world
(`PARTS`) owns its handwriting and a band of photo columns, shared with no other part.
"""

import colorsys
from typing import NamedTuple

import cv2
import numpy as np

IMAGE_SIZE = 64
MAX_OBJECTS = 4
GLYPH_SIDES = (18, 28)  # pixels, smallest and largest digit
# Degrees of hue. The gaps (100 and 90) leave the families apart after a hue jitter of 18 on both sides.
FAMILIES = {"warm": (-20.0, 50.0), "cool": (150.0, 250.0)}
ANY_HUE = (0.0, 360.0)
# Share of every digit's handwriting and of the photo columns, by part; sums to 1.
PARTS = {"pretrain": 0.34, "pretrain_test": 0.16, "train": 0.25, "test": 0.25}


class World(NamedTuple):
    """Raw material: glyphs float32 [1797,8,8] in 0..1, digits int64 [1797], photos uint8 [427,640,3]."""

    glyphs: np.ndarray
    digits: np.ndarray
    photos: tuple[np.ndarray, ...]


class WorldPart(NamedTuple):
    """What one part may use: glyph rows int64 [R], sorted, and photo columns [left, right)."""

    rows: np.ndarray
    columns: tuple[int, int]


class ClassSpec(NamedTuple):
    """One class: its name, its digit 0..9 and its range of hues in degrees."""

    name: str
    digit: int
    hues: tuple[float, float]


class Drawn(NamedTuple):
    """One digit in a scene: class, glyph row, hue in degrees, box (x, y, side) in pixels."""

    label: int
    row: int
    hue: float
    box: tuple[int, int, int]


class Scene(NamedTuple):
    """Image uint8 [64,64,3] RGB, its digits, the photo's number and the crop (x, y, side) in photo pixels."""

    image: np.ndarray
    objects: tuple[Drawn, ...]
    photo: int
    crop: tuple[int, int, int]


COLOUR_CLASSES = tuple(ClassSpec(f"{d}_{f}", d, hues) for d in range(10) for f, hues in FAMILIES.items())
IDENTITY_CLASSES = tuple(ClassSpec(str(d), d, ANY_HUE) for d in range(10))


def generator(seed: int, stream: int, position: int) -> np.random.Generator:
    """Counter-based generator: equal on every machine, independent for each (seed, stream, position)."""
    return np.random.Generator(np.random.Philox(key=[seed, (stream << 32) + position]))


def load_world() -> World:
    """Reads the material that scikit-learn ships; no download."""
    from sklearn.datasets import load_digits, load_sample_images  # a second of import, needed to build only

    images, digits = load_digits(return_X_y=True)
    glyphs = (images / 16.0).astype(np.float32).reshape(-1, 8, 8)
    return World(glyphs, digits.astype(np.int64), tuple(load_sample_images().images))


def partition(world: World, seed: int) -> dict[str, WorldPart]:
    """Splits handwriting (each digit by itself) and photo columns into the disjoint `PARTS`."""
    rng = generator(seed, 0, 0)
    cuts = np.cumsum(list(PARTS.values()))[:-1]
    rows: list[list[np.ndarray]] = [[] for _ in PARTS]
    for digit in range(10):
        own = rng.permutation(np.flatnonzero(world.digits == digit))
        for kept, piece in zip(rows, np.split(own, np.rint(cuts * len(own)).astype(int)), strict=True):
            kept.append(piece)
    edges = [0, *np.rint(cuts * world.photos[0].shape[1]).astype(int).tolist(), world.photos[0].shape[1]]
    return {
        name: WorldPart(np.sort(np.concatenate(own)), (left, right))
        for name, own, left, right in zip(PARTS, rows, edges[:-1], edges[1:], strict=True)
    }


def ladder(first: int, last: int, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Long-tailed counts int64 [C]: an exponential ladder from first to last in random class order."""
    return rng.permutation(np.rint(np.geomspace(first, last, classes)).astype(np.int64))


def draw_sizes(images: int, total: int, shares: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Objects of each image, int64 [N] in 1..len(shares), drawn by shares, then corrected to sum to total."""
    sizes = rng.choice(np.arange(1, len(shares) + 1), size=images, p=shares)
    while (gap := total - int(sizes.sum())) != 0:
        free = np.flatnonzero(sizes < len(shares) if gap > 0 else sizes > 1)
        if len(free) == 0:
            raise ValueError(f"{images} images of 1 to {len(shares)} objects cannot hold {total} objects")
        sizes[rng.choice(free, size=min(abs(gap), len(free)), replace=False)] += np.sign(gap)
    return sizes


def assign_labels(counts: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random multi-hot labels int8 [N,C] whose column sums are counts and whose row sums are sizes.

    Deals a shuffled pack of labels, then swaps duplicates within an image with random cards elsewhere.
    Frequent classes therefore appear beside rare ones, as in a natural long tail.
    """
    cards = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    owner = np.repeat(np.arange(len(sizes)), sizes)
    table = np.zeros((len(sizes), len(counts)), np.int64)
    np.add.at(table, (owner, cards), 1)
    for _ in range(1000 * len(cards)):
        twice = np.flatnonzero(table[owner, cards] > 1)
        if len(twice) == 0:
            return table.astype(np.int8)
        a, b = twice[0], rng.integers(len(cards))
        if table[owner[a], cards[b]] == 0 and table[owner[b], cards[a]] == 0:
            np.add.at(table, (owner[[a, b]], cards[[a, b]]), -1)
            cards[[a, b]] = cards[[b, a]]
            np.add.at(table, (owner[[a, b]], cards[[a, b]]), 1)
    raise ValueError("these class counts do not fit these image sizes without repeating a class in an image")


def compose(
    world: World, part: WorldPart, classes: tuple[ClassSpec, ...], labels: np.ndarray, rng: np.random.Generator
) -> Scene:
    """Draws the scene that holds the classes set in labels (int8 [C]), from the part's material only."""
    photo = int(rng.integers(len(world.photos)))
    canvas, crop = _background(world.photos[photo], part.columns, rng)
    present = np.flatnonzero(labels)
    if not 0 < len(present) <= MAX_OBJECTS:
        raise ValueError(f"a scene holds 1 to {MAX_OBJECTS} classes, not {len(present)}")
    objects = []
    for label, box in zip(present, _layout(len(present), rng), strict=True):
        row = int(rng.choice(part.rows[world.digits[part.rows] == classes[label].digit]))
        hue = float(rng.uniform(*classes[label].hues))
        _paint(canvas, world.glyphs[row], hue, box, rng)
        objects.append(Drawn(int(label), row, hue, box))
    return Scene(np.rint(np.clip(canvas, 0, 255)).astype(np.uint8), tuple(objects), photo, crop)


def _background(
    photo: np.ndarray, columns: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """A random square of the columns at 64x64, dimmed: float32 [64,64,3] and the square (x, y, side)."""
    left, right = columns
    side = int(rng.integers(48, min(right - left, 112) + 1))
    x = int(rng.integers(left, right - side + 1))
    y = int(rng.integers(0, photo.shape[0] - side + 1))
    square = photo[y : y + side, x : x + side]
    square = cv2.resize(square, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA)
    return square.astype(np.float32) * rng.uniform(0.6, 0.9), (x, y, side)


def _layout(count: int, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """The least overlapping of 40 random layouts, as boxes (x, y, side)."""
    sides = rng.integers(GLYPH_SIDES[0], GLYPH_SIDES[1] + 1, size=(40, count))
    corners = rng.uniform(size=(40, count, 2)) * (IMAGE_SIZE - sides)[..., None]
    corners = corners.astype(np.int64)
    overlap = np.zeros(40)
    for i in range(count):
        for j in range(i):
            ends = np.minimum(corners[:, i] + sides[:, i, None], corners[:, j] + sides[:, j, None])
            starts = np.maximum(corners[:, i], corners[:, j])
            overlap += np.prod(np.maximum(ends - starts, 0), axis=1)
    best = int(np.argmin(overlap))
    return [(int(x), int(y), int(s)) for (x, y), s in zip(corners[best], sides[best], strict=True)]


def _paint(
    canvas: np.ndarray, glyph: np.ndarray, hue: float, box: tuple[int, int, int], rng: np.random.Generator
) -> None:
    """Blends the glyph into the box of the canvas, in its hue, over a halo that contrasts with it."""
    x, y, side = box
    turn = cv2.getRotationMatrix2D((4.5, 4.5), rng.uniform(-12, 12), side / 10)
    turn[:, 2] += side / 2 - 4.5
    # A rim of one empty pixel keeps the interpolated stroke inside the box.
    tile = cv2.warpAffine(np.pad(glyph, 1), turn, (side, side), flags=cv2.INTER_CUBIC)
    alpha = np.clip((tile - 0.25) / 0.4, 0, 1)[..., None]
    halo = np.clip(cv2.GaussianBlur(alpha, (0, 0), 1.5) * 1.6, 0, 1)[..., None] * 0.6
    rgb = np.array(colorsys.hsv_to_rgb(hue / 360 % 1, rng.uniform(0.75, 1), rng.uniform(0.85, 1)))
    contrast = 20.0 if rgb @ (0.299, 0.587, 0.114) > 0.45 else 235.0
    view = canvas[y : y + side, x : x + side]
    view[:] = view * (1 - halo) + contrast * halo
    view[:] = view * (1 - alpha) + 255 * rgb * alpha
