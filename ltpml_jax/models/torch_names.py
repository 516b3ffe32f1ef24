"""torchvision's (and timm's) names and layouts of a ResNet's tensors, against the ones used here.

`layer1.0.conv1.kernel` [h, w, I, O] is torch's `layer1.0.conv1.weight` [O, I, h, w]; a BatchNorm's `scale`, `bias`,
`mean`, `var` are `weight`, `bias`, `running_mean`, `running_var`. Everything else is called the same.
"""

import logging
from collections.abc import Iterable, Mapping

import numpy as np

log = logging.getLogger(__name__)
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_TELLING = (".weight", ".running_mean", ".running_var")  # never the end of a name of ours
_PARALLEL = "module."  # put before every name by torch.nn.DataParallel


def used(names: Iterable[str]) -> bool:
    """Whether a file's tensors are named as torch names them."""
    return any(name.endswith(_TELLING) for name in names)


def name(key: str) -> str:
    """torch's name of one of our keys."""
    path, _, leaf = key.rpartition(".")
    return f"{path}.{_LEAVES[leaf]}"


def shape(ours: tuple[int, ...]) -> tuple[int, ...]:
    """torch's shape of an array of ours."""
    return tuple(ours[axis] for axis in (3, 2, 0, 1)) if len(ours) == 4 else ours


def convert(tensor: np.ndarray) -> np.ndarray:
    """A tensor of torch's layout and any float dtype in our layout, float32 (a view where nothing changes)."""
    return (tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor).astype(np.float32, copy=False)


def backbone(tensors: Mapping[str, np.ndarray], what: str) -> dict[str, np.ndarray]:
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
