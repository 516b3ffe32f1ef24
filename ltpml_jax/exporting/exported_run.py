"""What is exported of a run: its trained network, in float32, and what its inputs and outputs mean."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ltpml_jax.evaluation import model_file
from ltpml_jax.evaluation.trained_network import TrainedNetwork
from ltpml_jax.methods.settings import Config
from ltpml_jax.models.resnet import ResNet
from ltpml_jax.photometric import normalise

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


def exportable(config: Config, workdir: Path, network: TrainedNetwork) -> Exportable:
    """What is exported of a network that was opened; UserError where the work directory has no sound model.json."""
    about = model_file.load(workdir).record
    # Plain arrays on one device: those laid out over a mesh would bind what is exported to it.
    weights, rest = (jax.tree.map(jnp.asarray, jax.device_get(part)) for part in (network.weights, network.rest))
    model = in_float32(nnx.merge(network.graphdef, weights, rest))
    return Exportable(config, workdir, about, network.step, model, next(iter(network.method.predictions.values())))
