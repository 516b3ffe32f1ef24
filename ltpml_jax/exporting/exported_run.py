"""What is exported of a run: its trained network, in float32, and what its inputs and outputs mean."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ltpml_jax.config import validate
from ltpml_jax.data.candidates import LabelRows
from ltpml_jax.data.datasets import Dataset
from ltpml_jax.data.records import Records, Split
from ltpml_jax.data.task import Task, make_task
from ltpml_jax.evaluation import model_file
from ltpml_jax.experiment import assemble, open_checkpoint
from ltpml_jax.methods.priors import Prior
from ltpml_jax.methods.settings import Config
from ltpml_jax.models.resnet import ResNet
from ltpml_jax.photometric import normalise
from ltpml_jax.runtime import checkpoints
from ltpml_jax.state import evaluated, make_mesh
from ltpml_jax.workdir import saved_config

SIDES = (1, 2, 8)  # of the squares that check images consist of, in pixels; a fourth image has one colour


class Exportable(NamedTuple):
    """config and workdir: of the run; about: the content of its model.json; step: of the checkpoint.

    model: the network, computing in float32 whatever it was trained with; headline: what the network returns -> the
    logits [B, C] that the run is judged by.
    """

    config: Config
    workdir: Path
    about: dict[str, Any]
    step: int
    model: Any
    headline: Callable[[Any], jax.Array]

    @property
    def size(self) -> int:
        """Side S of the input, in pixels."""
        return self.about["image_size"]

    @property
    def class_names(self) -> list[str]:
        """The C names."""
        return list(self.about["class_names"])

    def logits(self, pixels: jax.Array) -> jax.Array:
        """Logits float32 [B, C] of pixels uint8 [B, S, S, 3], RGB; the normalisation is part of it."""
        return self.headline(self.model(normalise(pixels), train=False, mask=None, dropout_key=None))

    def check(self) -> tuple[np.ndarray, np.ndarray]:
        """Four images uint8 [4, S, S, 3] of coloured squares, and their logits float32 [4, C] at full precision."""
        rng = np.random.default_rng(0)
        drawn = [rng.integers(0, 256, (-(-self.size // side),) * 2 + (3,), np.uint8) for side in (*SIDES, self.size)]
        sides = (*SIDES, self.size)
        large = [image.repeat(side, 0).repeat(side, 1) for image, side in zip(drawn, sides, strict=True)]
        images = np.stack([image[: self.size, : self.size] for image in large])
        with jax.default_matmul_precision("highest"):  # accelerators round inputs of products otherwise
            return images, np.asarray(jax.jit(self.logits)(images), np.float32)


def in_float32(model: Any) -> Any:
    """The model, whose backbones now compute in float32."""
    for _, part in nnx.iter_graph(model):
        if isinstance(part, ResNet):
            part.compute = replace(part.compute, dtype="float32")
    return model


def _stand_in(about: model_file.ModelFile) -> Task:
    """What `assemble` asks of a run's task, without its dataset: names, sizes, digest."""
    classes, data = len(about.class_names), about.record["dataset"]
    states = np.zeros((1, classes), np.int8)
    none, rows = np.zeros(0, np.int64), np.zeros(data["training_images"], np.int64)
    labels, split = LabelRows(states, rows, "negative"), Split(Records(data["name"], "", "train", 0, classes), states)
    prior = Prior(about.class_counts.astype(np.float32), np.array(len(rows), np.float32), state_count=np.zeros((4, classes)))
    dataset = Dataset(data["name"], split, split, None, about.class_names, about.groups)
    return Task(dataset, rows, split, none, labels, labels, states, prior, data["candidates_sha256"], 1)


def open_exportable(workdir: Path, best: bool = False) -> Exportable:
    """A run's newest checkpoint, or the best one; the dataset is needed where there is no model.json.

    Raises UserError where there is no run, no such checkpoint, or it cannot be read.
    """
    config = saved_config(workdir)
    validate(config)
    known = (workdir / model_file.FILE).exists()
    task = _stand_in(model_file.load(workdir)) if known else make_task(config)
    run = assemble(config, task, workdir, make_mesh(jax.local_devices()[:1]), pretrained=False)
    about = model_file.load(workdir).record if known else model_file.describe(run)
    with checkpoints.open_manager(workdir, read_only=True) as manager:
        step = manager.best_step() if best else None
        step = checkpoints.newest(manager) if step is None else step
        state = open_checkpoint(run, manager, step).state
    weights, rest = (jax.tree.map(jnp.asarray, jax.device_get(part)) for part in (evaluated(state), state.rest))
    model = in_float32(nnx.merge(run.parts.graphdef, weights, rest))
    return Exportable(config, workdir, about, step, model, next(iter(run.method.predictions.values())))
