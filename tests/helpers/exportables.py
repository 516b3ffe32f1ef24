"""Networks to export that no run has trained: weights and statistics drawn, so that no part of them is trivial."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from ltpml_jax.config import build_method, default_config
from ltpml_jax.experiment import build_network
from ltpml_jax.exporting.exported_run import Exportable, in_float32
from ltpml_jax.methods.priors import Prior
from tests.helpers import workdirs

CLASSES = 6


def exportable(folder: Path, backbone: str = "resnet_small", size: int = 64, **fields: Any) -> Exportable:
    """A run of some method, `bce` unless `method__name` says otherwise; double underscores stand for dots."""
    config = default_config()
    changes = {"method__name": "bce", "model__backbone": backbone, "model__pretrained": "", "model__neck_width": 32}
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in (changes | fields).items()})
    prior = Prior(
        np.array([200, 150, 60, 40, 9, 4], np.float32),
        np.array(400, np.float32),
        state_count=np.array([[150, 200, 300, 320, 380, 390], [0] * 6, [250, 200, 100, 80, 20, 10], [0] * 6]),
    )
    method = build_method(config)
    assert method is not None
    parts = build_network(config, method, CLASSES, prior)
    model = nnx.merge(parts.graphdef, parts.trainable, parts.rest)
    shake(model)
    about = workdirs.record(backbone=backbone, image_size=size, method=config.method.name)
    headline = next(iter(method.predictions.values()))
    return Exportable(config, folder, about, 10, in_float32(model), headline)


def shake(model: Any) -> None:
    """Draws every BatchNorm's statistics, scales and biases, and every linear layer's bias, in place."""
    rng = np.random.default_rng(0)
    for _, part in nnx.iter_graph(model):
        if isinstance(part, nnx.BatchNorm):
            width = part.mean.shape
            part.mean[...], part.var[...] = rng.normal(size=width) / 10, rng.uniform(0.5, 1.5, width)
            if part.scale is not None and part.bias is not None:
                part.scale[...], part.bias[...] = rng.uniform(0.7, 1.1, width), rng.normal(size=width) / 10
        if isinstance(part, nnx.Linear):
            part.kernel[...] = part.kernel[...] + 0.1 * jax.random.normal(jax.random.key(1), part.kernel.shape)
            if part.bias is not None:
                part.bias[...] = rng.normal(size=part.bias.shape)


def largest_difference(found: Any, expected: np.ndarray) -> float:
    """The largest difference of two arrays, as a share of the largest value that is expected."""
    return float(np.abs(np.asarray(found, np.float64) - expected).max() / np.abs(expected).max())
