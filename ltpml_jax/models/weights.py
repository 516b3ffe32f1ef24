"""Backbone weights in safetensors files, under torchvision-like dotted keys ("layer1.0.conv1.kernel")."""

import hashlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ltpml_jax.errors import UserError
from ltpml_jax.models.classifier import Classifier


def save_backbone(model: Classifier, path: str | Path) -> str:
    """Writes the backbone's parameters and running statistics, float32; returns the file's sha256 (hex).

    Equal weights give equal bytes.
    """
    data = save({key: np.ascontiguousarray(leaf[...]) for key, leaf in _leaves(model).items()})
    Path(path).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def load_backbone(model: Classifier, path: str | Path) -> str:
    """Puts a file's weights into the model's backbone, in place; returns the file's sha256 (hex).

    Raises:
        UserError: the file cannot be read, or its keys, shapes or dtypes are not those of the backbone
            (the model is unchanged then).
    """
    data = _read(path)
    found, leaves = _parse(data, path), _leaves(model)
    if problems := _problems(leaves, found):
        listed = "; ".join(problems)
        raise UserError(f"{path} does not fit the backbone: {listed}; choose the backbone it was made with")
    for key, leaf in leaves.items():
        leaf[...] = jnp.asarray(found[key])
    return hashlib.sha256(data).hexdigest()


def _leaves(model: Classifier) -> dict[str, nnx.Variable]:
    return {".".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(nnx.state(model.backbone))}


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = f"cannot read the weights {path} ({reason}); give the path of a .safetensors file"
        raise UserError(message) from error


def _parse(data: bytes, path: str | Path) -> dict[str, np.ndarray]:
    try:
        return load(data)
    # A dtype that numpy does not know is a KeyError or TypeError in the library, not a SafetensorError.
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        message = f"{path} is not a readable safetensors file ({error}); make or fetch it again"
        raise UserError(message) from error


def _problems(leaves: dict[str, nnx.Variable], found: dict[str, np.ndarray]) -> list[str]:
    missing, unexpected = sorted(leaves.keys() - found), sorted(found.keys() - leaves)
    shaped = [
        f"{key} ({_describe(found[key])}, expected {_describe(leaves[key])})"
        for key in sorted(leaves.keys() & found)
        if _describe(found[key]) != _describe(leaves[key])
    ]
    named = {"missing": missing, "unexpected": unexpected, "of another shape": shaped}
    return [f"{title}: {', '.join(keys)}" for title, keys in named.items() if keys]


def _describe(array: np.ndarray | nnx.Variable) -> str:
    return f"{array.dtype}{list(array.shape)}"
