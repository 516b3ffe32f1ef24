"""Trees of images as users of the published datasets have them: real or small lists, generated photographs.

A photograph is encoded once and then hard-linked under many names: a tree of thousands of files is made in a second.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np

from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.writing import writer

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "appendix"
SIZES = ((500, 375), (375, 500), (500, 333), (640, 480), (480, 640))  # width, height


def photograph(seed: int, size: tuple[int, int] = (500, 375), quality: int = 92) -> bytes:
    """JPEG bytes that compress like a photograph's: coarse shapes, finer ones, and a little noise."""
    rng = np.random.default_rng(seed)
    width, height = size
    image = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((4, 110), (24, 45), (120, 22)):
        coarse = rng.uniform(-1, 1, (cells, cells, 3)).astype(np.float32)
        image += strength * cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    image += rng.normal(0, 6, image.shape) + 128
    done, data = cv2.imencode(".jpg", image.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


def plant(root: Path, paths: Iterable[str], originals: int = 8, sizes: tuple[tuple[int, int], ...] = SIZES) -> None:
    """A generated JPEG under every path below `root`; files of `originals` different contents."""
    stock = root / ".stock"
    stock.mkdir(parents=True, exist_ok=True)
    for number in range(originals):
        (stock / str(number)).write_bytes(photograph(number, sizes[number % len(sizes)]))
    for number, path in enumerate(paths):
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(stock / str(number % originals), place)


def prepared(folder: Path, dataset: str, classes: int, images: int = 60) -> Path:
    """A prepared dataset of a few generated photographs whose classes have a tail."""
    rng = np.random.default_rng(0)
    splits = {}
    for split, number in (("train", images), ("test", 12)):
        ids = [f"{split}/{row}.jpg" for row in range(number)]
        plant(folder / split, ids, originals=3, sizes=((120, 90), (90, 120)))
        states = (rng.random((number, classes)) < np.geomspace(0.5, 0.05, classes)).astype(np.int8)
        splits[split] = ListedSplit(ids, [str(folder / split / name) for name in ids], states)
    writer.write(dataset, Listing(tuple(f"c{j}" for j in range(classes)), splits), folder / "out", jobs=1)
    return folder / "out"


def punch(data: Path, name: str) -> None:
    """Zeros in the record of the image with this id, as a bad block of a disk would leave them."""
    (shard,) = (path for path in data.rglob("*array_record*") if name.encode() in path.read_bytes())
    raw = bytearray(shard.read_bytes())
    place = raw.index(name.encode())
    raw[place : place + len(name)] = bytes(len(name))
    shard.write_bytes(raw)


def replace(path: Path, data: bytes) -> None:
    """New content under one name, without touching its hard links."""
    path.unlink()
    path.write_bytes(data)


def listed(file: Path) -> list[str]:
    """The image paths of a list file."""
    return [line.split()[0] for line in file.read_text().splitlines() if line.strip()]


def write_lists(folder: Path, stem: str, lists: Mapping[str, str]) -> None:
    """`STEM_PART` files below `folder`, by part (lt_train.txt, lt_test.txt, labels.txt)."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, text in lists.items():
        (folder / f"{stem}_{part}").write_bytes(text.encode())
