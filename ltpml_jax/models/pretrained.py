"""Backbone weights: safetensors under dotted keys of our own, or anything in torchvision's (and timm's) naming.

`layer1.0.conv1.kernel` [h, w, I, O] is torch's `layer1.0.conv1.weight` [O, I, h, w]; a BatchNorm's `scale`, `bias`,
`mean`, `var` are `weight`, `bias`, `running_mean`, `running_var`. Everything else is called the same.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from safetensors.numpy import save

from ltpml_jax.errors import UserError
from ltpml_jax.models import weight_files
from ltpml_jax.models.classifier import Classifier, abstract_backbone
from ltpml_jax.models.resnet import ARCHITECTURES, ResNet

log = logging.getLogger(__name__)
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_TELLING = (".weight", ".running_mean", ".running_var")  # never the end of a name of ours
_PARALLEL = "module."  # put before every name by torch.nn.DataParallel


def has_torch_names(names: Iterable[str]) -> bool:
    """Whether a file's tensors are named as torch names them."""
    return any(name.endswith(_TELLING) for name in names)


def torch_name(key: str) -> str:
    """torch's name of one of our keys."""
    path, _, leaf = key.rpartition(".")
    return f"{path}.{_LEAVES[leaf]}"


def torch_shape(ours: tuple[int, ...]) -> tuple[int, ...]:
    """torch's shape of an array of ours."""
    return tuple(ours[axis] for axis in (3, 2, 0, 1)) if len(ours) == 4 else ours


def from_torch(tensor: np.ndarray) -> np.ndarray:
    """A tensor of torch's layout and any float dtype in our layout, float32 (a view where nothing changes)."""
    return (tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor).astype(np.float32, copy=False)


def to_torch(array: np.ndarray) -> np.ndarray:
    """The inverse of `from_torch`, in the array's own dtype."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array


def torch_backbone(tensors: Mapping[str, np.ndarray], what: str) -> dict[str, np.ndarray]:
    """The tensors of a state dict without those that no backbone has, which are logged.

    Left out are the classifier (`fc`) and the BatchNorms' `num_batches_tracked`; "module." before every name goes.
    """
    if all(key.startswith(_PARALLEL) for key in tensors):
        tensors = {key.removeprefix(_PARALLEL): tensor for key, tensor in tensors.items()}
    counters = [key for key in tensors if key.endswith("num_batches_tracked")]
    classifier = sorted(key for key in tensors if key.startswith("fc."))
    if classifier or counters:
        listed = ", ".join(classifier) or "no classifier"
        log.info("Left out of %s: %s, and %d num_batches_tracked", what, listed, len(counters))
    return {key: tensor for key, tensor in tensors.items() if key not in {*counters, *classifier}}


_REMEDY = "give others, set config.model.backbone, or --config.model.pretrained= for random weights"
_FLOATS = ("float32", "float16", "bfloat16", "float64")


class _Naming(NamedTuple):
    """How a file names and lays out what we call `key`."""

    name: Callable[[str], str]
    shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    convert: Callable[[np.ndarray], np.ndarray]
    dtypes: tuple[str, ...]


_OWN = _Naming(lambda key: key, lambda shape: shape, lambda array: array, ("float32",))
_TORCH = _Naming(torch_name, torch_shape, from_torch, _FLOATS)


def save_backbone(model: Classifier, path: str | Path) -> str:
    """Writes the backbone's parameters and running statistics, float32; returns the file's sha256 (hex).

    Equal weights give equal bytes.
    """
    data = save({key: np.ascontiguousarray(leaf[...]) for key, leaf in leaves(model.backbone).items()})
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
    own = leaves(model.backbone)
    naming, tensors, digest = _fitting(source, own)
    for key, leaf in own.items():
        # jnp.asarray would compile a program for each shape
        leaf.set_value(jax.device_put(naming.convert(tensors[naming.name(key)]), may_alias=False))
    return digest


def check_weights(source: str | Path, backbone: str) -> None:
    """Raise the UserError that `load_backbone` would, before anything else is loaded; backbone: of ARCHITECTURES.

    What the name of a repository on the hub says is enough to refuse it.
    """
    named = re.search(r"(?<![a-z_])resnet\d+", str(source)) if str(source).startswith(weight_files.PREFIX) else None
    if named and named[0] != backbone:
        raise UserError(f"{source} has weights of {named[0]}, but config.model.backbone is {backbone!r}; {_REMEDY}")
    _fitting(source, leaves(abstract_backbone(backbone)))


def _fitting(source: str | Path, own: dict[str, nnx.Variable]) -> tuple[_Naming, dict[str, np.ndarray], str]:
    """A file's tensors, with the naming that they have and the file's sha256; raises as `load_backbone`."""
    tensors, digest = weight_files.read(weight_files.locate(source))
    naming = _OWN
    if has_torch_names(tensors):
        naming, tensors = _TORCH, torch_backbone(tensors, str(source))
    if problems := _problems(naming, own, tensors):
        fits = [name for name in ARCHITECTURES if not _problems(naming, leaves(abstract_backbone(name)), tensors)]
        listed = [f"these are of {fits[0]}"] if fits else problems
        raise UserError(f"{source} does not fit the backbone: {'; '.join(listed)}; {_REMEDY}")
    return naming, tensors, digest


def leaves(backbone: ResNet) -> dict[str, nnx.Variable]:
    """A backbone's parameters and running statistics by our dotted keys."""
    return {".".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(nnx.state(backbone))}


def _problems(naming: _Naming, own: dict[str, nnx.Variable], found: dict[str, np.ndarray]) -> list[str]:
    expected = {naming.name(key): naming.shape(leaf.shape) for key, leaf in own.items()}
    shaped = [
        f"{key} ({_describe(found[key].dtype, found[key].shape)}, expected {_describe('float32', expected[key])})"
        for key in sorted(expected.keys() & found)
        if found[key].shape != expected[key] or str(found[key].dtype) not in naming.dtypes
    ]
    missing, unexpected = sorted(expected.keys() - found), sorted(found.keys() - expected)
    named = {"missing": missing, "unexpected": unexpected, "of another shape": shaped}
    return [f"{len(keys)} {title}: {_first(keys)}" for title, keys in named.items() if keys]


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")


def _describe(dtype: object, shape: tuple[int, ...]) -> str:
    return f"{dtype}{list(shape)}"
