"""The PyTorch DataLoader over the same images: the same crops and flips, from the same random streams."""

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from ltpml_jax.data import augment
from ltpml_jax.photometric import IMAGENET_MEAN, IMAGENET_STD

MIN_CROP, RATIO, FLIP = 0.8, (0.5, 2.0), 0.5
_MEAN, _STD = (torch.from_numpy(255 * value)[:, None, None] for value in (IMAGENET_MEAN, IMAGENET_STD))


class Photos(Dataset):
    """kind "opencv" and "pillow": uint8 [S,S,3]; "recipe": Pillow's pixels, distorted, normalised, float32 [3,S,S]."""

    def __init__(self, paths: list[Path], order: np.ndarray, kind: str, size: int) -> None:
        self.paths, self.order, self.kind, self.size = paths, order, kind, size

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        row = int(self.order[position])
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((0, 3, position))))
        draw = opencv if self.kind == "opencv" else pillow
        image = draw(self.paths[row], rng, self.size)
        return finished(image, rng) if self.kind == "recipe" else torch.from_numpy(image), row


def opencv(path: Path, rng: np.random.Generator, size: int) -> np.ndarray:
    """As the reference reads and resizes (its library does this through OpenCV)."""
    image = augment.decode(path.read_bytes())
    box = augment.draw_crop(image.shape[0], image.shape[1], rng, (MIN_CROP, 1.0), RATIO)
    resized = cv2.resize(box.cut(image), (size, size), interpolation=cv2.INTER_LINEAR)
    return cv2.flip(resized, 1) if rng.random() < FLIP else resized


def pillow(path: Path, rng: np.random.Generator, size: int) -> np.ndarray:
    """As torchvision's loader and transforms do."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    top, left, height, width = augment.draw_crop(image.height, image.width, rng, (MIN_CROP, 1.0), RATIO)
    image = image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BILINEAR)
    return np.array(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < FLIP else image)


def finished(image: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Photometric distortion with OpenCV, as in the reference, and normalisation: float32 [3,S,S]."""
    pixels = image.astype(np.float32)
    if rng.random() < 0.5:
        pixels += rng.uniform(-32, 32)
    if rng.random() < 0.5:
        pixels *= rng.uniform(0.5, 1.5)
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    if rng.random() < 0.5:
        hsv[..., 1] *= rng.uniform(0.5, 1.5)
    if rng.random() < 0.5:
        hue = hsv[..., 0] + rng.uniform(-18, 18)
        hsv[..., 0] = np.where(hue < 0, hue + 360, np.where(hue >= 360, hue - 360, hue))
    pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if rng.random() < 0.5:
        pixels = cv2.merge([cv2.split(pixels)[channel] for channel in rng.permutation(3)])
    planes = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    return planes.sub_(_MEAN).div_(_STD)


_LOADERS: dict[str, Any] = {}  # of this process: their workers stay from run to run, as between epochs


def rate(paths: list[Path], order: np.ndarray, kind: str, size: int, batch: int) -> tuple[float, int]:
    """Images a second of one pass with two worker processes, and a checksum of the first batch."""
    if kind not in _LOADERS:
        photos = Photos(paths, order, kind, size)
        _LOADERS[kind] = DataLoader(photos, batch, num_workers=2, persistent_workers=True, drop_last=True)
    batches = iter(_LOADERS[kind])
    checksum = int(next(batches)[0].double().sum().item())
    count, start = 0, time.perf_counter()
    for images, _ in batches:
        count += len(images)
    return count / (time.perf_counter() - start), checksum
