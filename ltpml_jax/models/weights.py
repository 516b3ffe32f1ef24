"""Backbone weights: safetensors under dotted keys of our own, or anything in torchvision's naming, from disk or hub."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import save

from ltpml_jax.errors import UserError
from ltpml_jax.models import torch_names, weight_files
from ltpml_jax.models.classifier import Classifier

_FLOATS = ("float32", "float16", "bfloat16", "float64")


class _Naming(NamedTuple):
    """How a file names and lays out what we call `key`."""

    name: Callable[[str], str]
    shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    convert: Callable[[np.ndarray], np.ndarray]
    dtypes: tuple[str, ...]


_OWN = _Naming(lambda key: key, lambda shape: shape, lambda array: array, ("float32",))
_TORCH = _Naming(torch_names.name, torch_names.shape, torch_names.convert, _FLOATS)


def save_backbone(model: Classifier, path: str | Path) -> str:
    """Writes the backbone's parameters and running statistics, float32; returns the file's sha256 (hex).

    Equal weights give equal bytes.
    """
    data = save({key: np.ascontiguousarray(leaf[...]) for key, leaf in _leaves(model).items()})
    Path(path).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def load_backbone(model: Classifier, source: str | Path) -> str:
    """Puts a file's weights into the model's backbone, in place; returns the file's sha256 (hex).

    Args:
        model: the model to change.
        source: the path of a .safetensors file, with the names of `save_backbone` (float32) or those of
            torchvision and timm (any float dtype); or of a torch checkpoint (.pth) with the latter; or
            "hf:OWNER/NAME", see `weight_files.locate`.

    Raises:
        UserError: the file cannot be fetched or read, or its keys, shapes or dtypes are not those of the backbone
            (the model is unchanged then).
    """
    tensors, digest = weight_files.read(weight_files.locate(source))
    naming, leaves = _OWN, _leaves(model)
    if torch_names.used(tensors):
        naming, tensors = _TORCH, torch_names.backbone(tensors, str(source))
    if problems := _problems(naming, leaves, tensors):
        listed = "; ".join(problems)
        raise UserError(f"{source} does not fit the backbone: {listed}; choose the backbone it was made with")
    for key, leaf in leaves.items():
        leaf[...] = jnp.asarray(naming.convert(tensors[naming.name(key)]))
    return digest


def _leaves(model: Classifier) -> dict[str, nnx.Variable]:
    return {".".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(nnx.state(model.backbone))}


def _problems(naming: _Naming, leaves: dict[str, nnx.Variable], found: dict[str, np.ndarray]) -> list[str]:
    expected = {naming.name(key): naming.shape(leaf.shape) for key, leaf in leaves.items()}
    shaped = [
        f"{key} ({_describe(found[key].dtype, found[key].shape)}, expected {_describe('float32', expected[key])})"
        for key in sorted(expected.keys() & found)
        if found[key].shape != expected[key] or str(found[key].dtype) not in naming.dtypes
    ]
    missing, unexpected = sorted(expected.keys() - found), sorted(found.keys() - expected)
    named = {"missing": missing, "unexpected": unexpected, "of another shape": shaped}
    return [f"{title}: {', '.join(keys)}" for title, keys in named.items() if keys]


def _describe(dtype: object, shape: tuple[int, ...]) -> str:
    return f"{dtype}{list(shape)}"
