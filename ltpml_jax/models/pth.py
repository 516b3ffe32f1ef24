"""torch checkpoints (.pth, .pt) as NumPy arrays: without torch, and without running anything that a file contains."""

from typing import Any

import numpy as np

from ltpml_jax.errors import UserError
from ltpml_jax.models import pth_legacy, pth_zip

HEAD = max(len(pth_zip.MAGIC), len(pth_legacy.MAGIC))  # bytes of a file that `recognises` looks at
_WRAPPERS = ("state_dict", "model")  # where training scripts put the state dict


def recognises(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a torch checkpoint."""
    return head.startswith((pth_zip.MAGIC, pth_legacy.MAGIC))


def read(data: bytes, what: str) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint by name, as views of its bytes.

    Args:
        data: the file: a state dict, or a dict with one under "state_dict" or "model".
        what: its name in messages.

    Raises:
        UserError: the file is damaged, contains anything but tensors, numbers, strings and containers of them,
            or has no state dict.
    """
    form = pth_zip if data.startswith(pth_zip.MAGIC) else pth_legacy
    return _state_dict(form.load(data, what), what)


def _state_dict(loaded: Any, what: str) -> dict[str, np.ndarray]:
    for wrapper in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    entries = loaded.items() if isinstance(loaded, dict) else ()
    tensors = {name: value for name, value in entries if isinstance(name, str) and isinstance(value, np.ndarray)}
    if not tensors:
        raise UserError(f"{what} has no tensors under names, alone or in 'state_dict' or 'model'; save a state_dict()")
    return tensors
