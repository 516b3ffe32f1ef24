"""Networks to export that no run has trained: weights and statistics drawn, so that no part of them is trivial."""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from ltpml_jax.config import build_method, default_config
from ltpml_jax.experiment import build_network
from ltpml_jax.exporting.exported_run import Exportable, in_float32
from ltpml_jax.methods.priors import Prior
from ltpml_jax.models.classifier import Classifier, Neck
from ltpml_jax.models.layers import Compute
from ltpml_jax.models.resnet import Architecture, Bottleneck, ResNet
from tests.helpers import weights, workdirs

CLASSES = 6
NOWHERE = Path("no folder")
# Made of what ResNet 50 is made of: 7x7 stem and pool, 1x1 and 3x3 convolutions, strides, downsampling.
THIN = Architecture(Bottleneck, (1, 2, 1, 1), (4, 6, 8, 10), 7, 8, True)


@functools.cache
def exportable(backbone: str = "resnet_small", size: int = 64, **fields: Any) -> Exportable:
    """A run of some method, `bce` unless `method__name` says otherwise; double underscores stand for dots."""
    config = default_config()
    changes = {"method__name": "bce", "model__backbone": backbone, "model__pretrained": "", "model__neck_width": 32}
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in (changes | fields).items()})
    method = build_method(config)
    assert method is not None
    counts = np.array(workdirs.record()["class_counts"], np.float32)
    with weights.from_numpy():
        parts = build_network(config, method, CLASSES, Prior(counts, np.array(400, np.float32)))
    model = nnx.merge(parts.graphdef, parts.trainable, parts.rest)
    shake(model)
    about = workdirs.record(backbone=backbone, image_size=size, method=config.method.name)
    return Exportable(config, NOWHERE, about, 10, in_float32(model), next(iter(method.predictions.values())))


@functools.cache
def thin(size: int = 40) -> Exportable:
    """A narrow relative of ResNet 50, which counts as that one here, on images whose sides are not powers of 2."""

    def made() -> Classifier:
        rngs = nnx.Rngs(0)
        backbone = ResNet(THIN, Compute("float32", True, True, False), 0, rngs)
        return Classifier(backbone, Neck(backbone.features, 12, 0.1, rngs), nnx.Linear(12, CLASSES, rngs=rngs))

    model = nnx.eval_shape(made)
    nnx.update(model, weights.filled(nnx.state(model), 0))
    shake(model)
    return exportable()._replace(model=model, about=workdirs.record(backbone="resnet50", image_size=size))


def shake(model: Any) -> None:
    """Draws every BatchNorm's statistics, scales and biases, and the biases and offsets of the rest, in place."""
    rng = np.random.default_rng(0)

    def draw(variable: nnx.Variable, low: float, high: float) -> None:
        variable.set_value(jax.device_put(rng.uniform(low, high, variable.shape).astype(np.float32)))

    for _, part in nnx.iter_graph(model):
        if isinstance(part, nnx.BatchNorm):
            draw(part.mean, -0.2, 0.2)
            draw(part.var, 0.5, 1.5)
            if part.scale is not None and part.bias is not None:
                draw(part.scale, 0.7, 1.1)
                draw(part.bias, -0.2, 0.2)
        if isinstance(part, nnx.Linear):
            draw(part.kernel, -0.3, 0.3)
            if part.bias is not None:
                draw(part.bias, -1, 1)


def pixels(count: int, size: int) -> np.ndarray:
    """Images uint8 [count, size, size, 3], other ones than those of check.npz."""
    return np.random.default_rng(5).integers(0, 256, (count, size, size, 3), np.uint8)


def difference(found: Any, expected: Any) -> float:
    """The largest difference of two arrays, as a share of the largest value that is expected."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())
