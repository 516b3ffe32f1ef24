"""A run that is opened for use: predictions on new images, test scores, beliefs, config."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from ltpml_jax.config import validate
from ltpml_jax.data import augment
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import label_quality, outcome
from ltpml_jax.evaluation.metrics import Scores
from ltpml_jax.experiment import Experiment, build_experiment, open_checkpoint
from ltpml_jax.methods.base import Method
from ltpml_jax.methods.settings import Config
from ltpml_jax.runtime import checkpoints
from ltpml_jax.state import TrainState, evaluated, make_mesh
from ltpml_jax.workdir import saved_config

Image = str | Path | np.ndarray


class OpenRun:
    """A run's newest checkpoint on one device; the work directory is only read.

    config: as it was trained with; class_names: C names; predictions: names of what `predict` can give, the headline
    first.
    """

    def __init__(self, run: Experiment, state: TrainState) -> None:
        """Of a checkpoint that was restored; `open_run` does that."""
        self.run, self.state = run, state
        self.config: Config = run.config
        self.class_names = run.task.dataset.class_names
        self.predictions = tuple(run.method.predictions)

    def predict(self, images: Iterable[Image], prediction: str | None = None) -> np.ndarray:
        """Logits float32 [n, C] of images, decoded and resized as the run's test images.

        Args:
            images: paths, or arrays uint8 [H, W, 3] RGB of any size.
            prediction: one of `predictions`; None for the headline.

        Raises:
            UserError: an image that cannot be read, or a prediction that the method does not have.
        """
        name = prediction or self.predictions[0]
        if name not in self.predictions:
            raise UserError(f"There is no prediction {name!r}; this run has {', '.join(self.predictions)}.")
        data, size = self.config.data, self.config.eval.batch_size
        pixels = [_pixels(image, augment.RESIZES[data.resize], data.image_size) for image in images]
        found = [np.zeros((0, len(self.class_names)), np.float32)]
        for start in range(0, len(pixels), size):
            part = np.stack(pixels[start : start + size])
            padded = np.pad(part, ((0, size - len(part)), (0, 0), (0, 0), (0, 0)))  # one shape, compiled once
            outputs = self.run.predict(evaluated(self.state), self.state.rest, jnp.asarray(padded))
            found.append(np.asarray(outputs[name])[: len(part)])
        return np.concatenate(found)

    def test_scores(self) -> dict[str, Scores]:
        """By prediction: mAP by class group, F1 and accuracy on the test split, in percent."""
        return outcome.test_scores(self.run, self.state)

    def beliefs(self) -> tuple[np.ndarray, np.ndarray]:
        """Soft and hard pseudo labels, both float32 [N, C], of the training images.

        Raises UserError where the method keeps none.
        """
        if self.run.method.beliefs is None:
            raise UserError(f"The method {self.config.method.name!r} keeps no pseudo labels; use its predictions.")
        parts = list(label_quality.beliefs_by_block(self.run.method, self.state, len(self.run.task.train)))
        return np.concatenate([soft for _, soft, _ in parts]), np.concatenate([hard for _, _, hard in parts])


def open_run(workdir: str | Path, method: Method | None = None, data_dir: str = "") -> OpenRun:
    """Open the newest checkpoint of a run.

    Args:
        workdir: of a finished or unfinished run.
        method: the Method that `ltpml_jax.train` was given, where it was given one.
        data_dir: where the dataset lies now, if it was moved.

    Raises:
        UserError: there is no run, no checkpoint, or not the dataset that it was trained on.
    """
    workdir = Path(workdir)
    config = saved_config(workdir)
    if data_dir:
        config.data.dir = data_dir
    validate(config)
    run = build_experiment(config, workdir, make_mesh(jax.local_devices()[:1]), pretrained=False, method=method)
    with checkpoints.open_manager(workdir, read_only=True) as manager:
        return OpenRun(run, open_checkpoint(run, manager, checkpoints.newest(manager)).state)


def _pixels(image: Image, resize: augment.Resize, size: int) -> np.ndarray:
    try:
        if isinstance(image, np.ndarray):  # through a lossless file, so that arrays and files are resized alike
            encoded = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
        else:
            encoded = Path(image).read_bytes()
        return resize(encoded, augment.whole, size)
    except (OSError, ValueError, cv2.error) as error:
        what = f"array of shape {image.shape}" if isinstance(image, np.ndarray) else image
        raise UserError(f"The image {what} cannot be read ({error}); give a whole image file or RGB array.") from None
