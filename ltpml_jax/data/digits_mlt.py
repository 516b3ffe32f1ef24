"""The embedded datasets as TFDS builders; they write ArrayRecord and need no TensorFlow.

`DigitsMlt` is the long-tailed main task, `DigitsIdentity` the balanced task that the small backbone is
pretrained on. Both keep TFDS from shuffling, so record i of a split is the image with index i.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
import tensorflow_datasets as tfds

from ltpml_jax.data import scenes


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


class _Scenes(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """What both datasets share. A change of anything drawn needs a new VERSION, or old folders are reused."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}
    # Nothing is downloaded; TFDS's own look-up of checksums imports a package that it does not require.
    url_infos = None
    SEED: ClassVar[int] = 20240
    CLASSES: ClassVar[tuple[scenes.ClassSpec, ...]]
    PLANS: ClassVar[dict[str, SplitPlan]]

    def _info(self) -> tfds.core.DatasetInfo:
        size = scenes.IMAGE_SIZE
        names = [spec.name for spec in self.CLASSES]
        features = {
            "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
            "labels": tfds.features.Sequence(tfds.features.ClassLabel(names=names)),
            "index": np.int64,
            "id": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,  # records stay in the order of their integer keys
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {split: self._generate_examples(split) for split in self.PLANS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        drawn = draw_scenes(self.PLANS[split], self.CLASSES, self.SEED)
        for index, (labels, scene) in enumerate(drawn):
            example = {
                "image": encode_png(scene.image),
                "labels": np.flatnonzero(labels).tolist(),
                "index": index,
                "id": f"{split}-{index:05d}",
            }
            yield index, example


class DigitsMlt(_Scenes):
    """Handwritten digits in warm or cool colours on photographs: 20 classes, long-tailed train, even test."""

    CLASSES = scenes.COLOUR_CLASSES
    PLANS: ClassVar[dict[str, SplitPlan]] = {
        "train": SplitPlan("train", 1200, 560, 4, (0.36, 0.35, 0.19, 0.10), 1),
        "test": SplitPlan("test", 1000, 102, 102, (0.36, 0.35, 0.19, 0.10), 2),
    }


class DigitsIdentity(_Scenes):
    """Handwritten digits in any colour on photographs: 10 classes, balanced, for pretraining."""

    CLASSES = scenes.IDENTITY_CLASSES
    PLANS: ClassVar[dict[str, SplitPlan]] = {
        "train": SplitPlan("pretrain", 4000, 800, 800, (0.34, 0.32, 0.34), 3),
        "test": SplitPlan("pretrain_test", 500, 100, 100, (0.34, 0.32, 0.34), 4),
    }
