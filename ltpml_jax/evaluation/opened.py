"""A run that is opened for use: predictions on new images, test scores, beliefs, config.

Predictions need the work directory alone. What compares with the dataset opens it when it is asked for.
"""

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

import ltpml_jax
from ltpml_jax.config import validate
from ltpml_jax.data import augment
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import label_quality, outcome
from ltpml_jax.evaluation.metrics import Scores
from ltpml_jax.evaluation.trained_network import TrainedNetwork, load_network
from ltpml_jax.experiment import Experiment, build_experiment, open_checkpoint
from ltpml_jax.exporting import export_folder
from ltpml_jax.exporting.exported_run import exportable
from ltpml_jax.methods.base import Method
from ltpml_jax.methods.settings import Config
from ltpml_jax.runtime import checkpoints
from ltpml_jax.runtime.files import check_regular, expanded
from ltpml_jax.runtime.processes import local_devices
from ltpml_jax.state import TrainState, make_mesh
from ltpml_jax.workdir import as_path, saved_config

Image = str | Path | np.ndarray


class OpenRun:
    """A run's checkpoint on some devices; the work directory is only read.

    config: as it was trained with; class_names: C names; predictions: names of what `predict` can give, the headline
    first; batch_size: images that are predicted at a time.
    """

    def __init__(self, config: Config, workdir: Path, network: TrainedNetwork, mesh: Mesh) -> None:
        """Of a network that was restored; `open_run` does that."""
        self.config, self.workdir, self.network, self.mesh = config, workdir, network, mesh
        self.class_names = network.class_names
        self.predictions = tuple(network.method.predictions)
        self.batch_size: int = config.eval.batch_size

    def predict(self, images: Iterable[Image], prediction: str | None = None) -> np.ndarray:
        """Logits float32 [n, C] of images, decoded and resized as the run's test images.

        Args:
            images: paths, or arrays uint8 [H, W, 3] RGB of any size; read as they are needed, a batch at a time.
            prediction: one of `predictions`; None for the headline.

        Raises:
            UserError: an image that cannot be read, is of another form, or alone; or a prediction that the method does
                not have.
        """
        if isinstance(images, str | os.PathLike) or getattr(images, "ndim", 4) not in (1, 4):  # 1: paths, as a column
            raise UserError("One image or path was given where a list of them is predicted; put it in a list.")
        name = prediction or self.predictions[0]
        if name not in self.predictions:
            raise UserError(f"There is no prediction {name!r}; this run has {', '.join(self.predictions)}.")
        found = [np.zeros((0, len(self.class_names)), np.float32)]
        rest: Iterator[np.ndarray] = map(self.pixels, images)
        while part := list(islice(rest, self.batch_size)):
            found.append(self.logits(np.stack(part))[name])
        return np.concatenate(found)

    def pixels(self, image: Image) -> np.ndarray:
        """The network's input uint8 [S, S, 3] of an image; UserError where it cannot be read."""
        data = self.config.data
        return _pixels(image, augment.RESIZES[data.resize], data.image_size)

    def logits(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Logits float32 [n, C] by prediction, of input uint8 [n, S, S, 3]; n is at most `batch_size`."""
        size = self.batch_size + -self.batch_size % self.mesh.size
        padded = np.pad(pixels, ((0, size - len(pixels)), (0, 0), (0, 0), (0, 0)))  # one shape, compiled once
        outputs = self.network.predict(self.network.weights, self.network.rest, jnp.asarray(padded))
        return {name: np.asarray(values)[: len(pixels)] for name, values in outputs.items()}

    @functools.cached_property
    def run(self) -> Experiment:
        """The run with its dataset; UserError where that is gone, or is another one."""
        return build_experiment(self.config, self.workdir, self.mesh, "none", method=self.network.method)

    @functools.cached_property
    def state(self) -> TrainState:
        """The whole training state of the checkpoint; UserError as `run`."""
        with checkpoints.open_manager(self.workdir, read_only=True) as manager:
            return open_checkpoint(self.run, manager, self.network.step).state

    def export(self, folder: str | Path, formats: Sequence[str] = ()) -> list[str]:
        """Write the model into a new folder, as `ltpml export` (docs/export.md); returns the files' names.

        Args:
            folder: does not exist yet, or is empty.
            formats: of timm, safetensors, stablehlo and onnx; none for all that can be made.

        Raises UserError as `export_folder.export`, and where the run has no model.json.
        """
        return export_folder.export(exportable(self.config, self.workdir, self.network), expanded(folder), formats)

    def audit(self, out: str | Path, **options: Any) -> Any:
        """Rank the labels to distrust and write them to a folder, as `ltpml audit` (docs/audit.md).

        By the last checkpoint. options: those of `ltpml_jax.audit_runs`, such as `top`; returns what it does, UserError
        as there.
        """
        given = {"data_dir": self.config.data.dir, "method": self.network.method}
        # By the package's door: audits open runs, and are above this.
        return ltpml_jax.audit_runs([self.workdir], out, **given | options)

    def test_scores(self) -> dict[str, Scores]:
        """By prediction: mAP by class group, F1 and accuracy on the test split, in percent; UserError as `run`."""
        return outcome.test_scores(self.run, self.state)

    def beliefs(self) -> tuple[np.ndarray, np.ndarray]:
        """Soft and hard pseudo labels, both float32 [N, C], of the training images.

        Raises UserError where the method keeps none, and as `run`.
        """
        if self.network.method.beliefs is None:
            raise UserError(f"The method {self.config.method.name!r} keeps no pseudo labels; use its predictions.")
        parts = list(label_quality.beliefs_by_block(self.run.method, self.state, len(self.run.task.train)))
        return np.concatenate([soft for _, soft, _ in parts]), np.concatenate([hard for _, _, hard in parts])


def open_run(
    workdir: str | Path,
    method: Method | None = None,
    data_dir: str | Path = "",
    checkpoint: str = "last",
    all_devices: bool = False,
) -> OpenRun:
    """Open a checkpoint of a run.

    Args:
        workdir: of a finished or unfinished run.
        method: the Method that `ltpml_jax.train` was given, where it was given one.
        data_dir: where the dataset lies now, if it was moved.
        checkpoint: `last`, the newest, or `best`, by held-out images.
        all_devices: predict on all devices of this process instead of the first one.

    Raises:
        UserError: there is no run, or no such checkpoint.
    """
    workdir = as_path(workdir)
    config = saved_config(workdir)
    if data_dir:
        config.data.dir = os.fspath(data_dir)
    validate(config)
    devices = local_devices()
    mesh = make_mesh(devices if all_devices else devices[:1])
    network = load_network(config, workdir, mesh, checkpoint, method)
    return OpenRun(config, workdir.absolute(), network, mesh)  # as the program may change its folder


def _pixels(image: Image, resize: augment.Resize, size: int) -> np.ndarray:
    if not isinstance(image, str | os.PathLike):
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise UserError(
                f"An image is an array of {image.dtype} {list(image.shape)}; give uint8 [height, width, 3] of R, G, B "
                "in 0 to 255, or a path."
            )
    try:
        if isinstance(image, np.ndarray):  # through a lossless file, so that arrays and files are resized alike
            encoded = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
        else:
            check_regular(image := expanded(image))
            encoded = image.read_bytes()
        return resize(encoded, augment.whole, size)
    except (OSError, ValueError, cv2.error) as error:
        what = f"array of shape {image.shape}" if isinstance(image, np.ndarray) else image
        raise UserError(f"The image {what} cannot be read ({error}); give a whole image file or RGB array.") from None
