"""What the embedded datasets are made of; `writing.embedded` writes them to disk.

`digits_mlt` is the long-tailed main task, `digits_identity` the balanced task that the small backbone is pretrained on.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from ltpml_jax.data import scenes

# A change of anything drawn needs a new version, or the folders of an earlier one are used again.
VERSION = "1.0.0"
SEED = 20240


class SplitPlan(NamedTuple):
    """How one split is drawn.

    `part` names the material, `images` is N, `first` and `last` the positives of the most and of the least
    frequent class, `shares` the shares of images with 1, 2, ... digits, `stream` the split's random stream.
    """

    part: str
    images: int
    first: int
    last: int
    shares: tuple[float, ...]
    stream: int


class Embedded(NamedTuple):
    """A dataset that comes with the package: a sentence on it, its classes, and how each of its splits is drawn."""

    description: str
    classes: tuple[scenes.ClassSpec, ...]
    plans: dict[str, SplitPlan]


EMBEDDED = {
    "digits_mlt": Embedded(
        "Handwritten digits in warm or cool colours on photographs: 20 classes, long-tailed train, even test.",
        scenes.COLOUR_CLASSES,
        {
            "train": SplitPlan("train", 1200, 560, 4, (0.36, 0.35, 0.19, 0.10), 1),
            "test": SplitPlan("test", 1000, 102, 102, (0.36, 0.35, 0.19, 0.10), 2),
        },
    ),
    "digits_identity": Embedded(
        "Handwritten digits in any colour on photographs: 10 classes, balanced, for pretraining.",
        scenes.IDENTITY_CLASSES,
        {
            "train": SplitPlan("pretrain", 4000, 800, 800, (0.34, 0.32, 0.34), 3),
            "test": SplitPlan("pretrain_test", 500, 100, 100, (0.34, 0.32, 0.34), 4),
        },
    ),
}


def draw_labels(plan: SplitPlan, classes: int, seed: int) -> np.ndarray:
    """Multi-hot labels int8 [N,C] of a split; the column sums follow the plan's ladder exactly."""
    rng = scenes.generator(seed, plan.stream, 0)
    counts = scenes.ladder(plan.first, plan.last, classes, rng)
    sizes = scenes.draw_sizes(plan.images, int(counts.sum()), plan.shares, rng)
    return scenes.assign_labels(counts, sizes, rng)


def draw_scenes(
    plan: SplitPlan, classes: tuple[scenes.ClassSpec, ...], seed: int
) -> Iterator[tuple[np.ndarray, scenes.Scene]]:
    """Yields (labels int8 [C], scene) for index 0..N-1; each scene has a generator of its own."""
    world = scenes.load_world()
    part = scenes.partition(world, seed)[plan.part]
    for index, labels in enumerate(draw_labels(plan, len(classes), seed)):
        rng = scenes.generator(seed, plan.stream, index + 1)
        yield labels, scenes.compose(world, part, classes, labels, rng)


def encode_png(image: np.ndarray) -> bytes:
    """PNG bytes of an RGB image uint8 [H,W,3]; lossless, because JPEG smears hue at this size."""
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError("OpenCV could not encode the image as PNG")
    return data.tobytes()
