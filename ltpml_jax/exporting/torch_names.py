"""A run's classifier as torchvision's ResNet: its names and layouts, with all that follows the pooling in one `fc`.

Between neck, BatchNorm and head there is no activation, so that at inference they are one linear layer; an offset or a
scale of the logits (`noise_model` without its branch, `lws`) is part of it too. Folded in float64.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import save

from ltpml_jax.methods.branch import Offset
from ltpml_jax.methods.lws import ScaledClassifier
from ltpml_jax.models.classifier import Classifier
from ltpml_jax.models.pretrained import leaves, to_torch, torch_name
from ltpml_jax.models.resnet import ResNet

OWN = "resnet_small"  # the one backbone that torchvision and timm do not have


class LinearOnPooled(NamedTuple):
    """A ResNet, then weight float64 [C, F] and bias float64 [C] of what it returns, averaged over places."""

    backbone: ResNet
    weight: np.ndarray
    bias: np.ndarray


def linear_form(model: Any, headline: Callable[[Any], jax.Array]) -> LinearOnPooled | None:
    """The network and its headline prediction as one ResNet and one linear layer; None where it is anything else."""
    scale, offset = np.float64(1), np.float64(0)  # logits = scale * those of `model` + offset
    while True:
        match model:
            case Offset():
                model, offset = model.network, offset + scale * _double(model.offset)
            case ScaledClassifier():
                model, scale = model.frozen, scale * _double(model.scale)
            case Classifier() if _is_identity(headline):
                weight, bias = fold(model)
                return LinearOnPooled(model.backbone, (weight * scale).T, bias * scale + offset)
            case _:
                return None


def fold(model: Classifier) -> tuple[np.ndarray, np.ndarray]:
    """Weight [F, C] and bias [C], float64: neck, its BatchNorm with stored statistics, and head in one."""
    neck, norm, head = model.neck.linear, model.neck.norm, model.head
    gain = _double(norm.scale) / np.sqrt(_double(norm.var) + norm.epsilon)
    shift = (_double(neck.bias) - _double(norm.mean)) * gain + _double(norm.bias)
    kernel = _double(head.kernel)
    return (_double(neck.kernel) * gain[None]) @ kernel, shift @ kernel + _double(head.bias)


def state_dict(form: LinearOnPooled) -> dict[str, np.ndarray]:
    """What torchvision's `load_state_dict(strict=True)` takes, float32, and int64 [] for `num_batches_tracked`."""
    found = {}
    for key, leaf in leaves(form.backbone).items():
        found[torch_name(key)] = to_torch(np.asarray(leaf[...]))
        if key.endswith(".mean"):
            found[f"{key.removesuffix('.mean')}.num_batches_tracked"] = np.zeros((), np.int64)
    return found | {"fc.weight": form.weight.astype(np.float32), "fc.bias": form.bias.astype(np.float32)}


def own_tensors(form: LinearOnPooled) -> dict[str, np.ndarray]:
    """The same under this package's names and layouts, float32: `fc.kernel` is [F, C]."""
    found = {key: np.asarray(leaf[...]) for key, leaf in leaves(form.backbone).items()}
    return found | {"fc.kernel": form.weight.T.astype(np.float32), "fc.bias": form.bias.astype(np.float32)}


def safetensors(form: LinearOnPooled, backbone: str) -> bytes:
    """The content of model.safetensors: torchvision's names, or this package's for a backbone of its own."""
    ours = backbone == OWN
    tensors = own_tensors(form) if ours else state_dict(form)
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    return save(contiguous, metadata={"format": "flax" if ours else "pt"})


def _double(variable: nnx.Variable | None) -> np.ndarray:
    assert variable is not None
    return np.asarray(variable[...], np.float64)


def _is_identity(headline: Callable[[Any], jax.Array]) -> bool:
    """Whether the headline is the logits as the network returns them, by what it makes of some."""
    logits = jnp.linspace(-9.0, 8.0, 12).reshape(3, 4)
    return bool(np.array_equal(headline(logits), logits))
