"""Files of named arrays: safetensors, and torch checkpoints read without torch. The content tells which one it is."""

import hashlib
import stat
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ltpml_jax.errors import UserError
from ltpml_jax.models import torch_files


def read(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """The tensors of a file by name, in the file's own dtypes and layouts, and the file's sha256 (hex).

    Raises:
        UserError: the file cannot be read, or is of neither format, or is damaged, or is no regular file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # /dev/zero, for one, has no end
            raise OSError(0, "it is no regular file")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            is_checkpoint = torch_files.recognises(file.read(torch_files.HEAD))
        checkpoint = path.read_bytes() if is_checkpoint else b""
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = f"cannot read the weights {path} ({reason}); give the path of a .safetensors or .pth file"
        raise UserError(message) from error
    return (torch_files.read(checkpoint, str(path)) if is_checkpoint else _safetensors(path)), digest


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    # A dtype that numpy does not know is one of the last three in the library, not a SafetensorError.
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{path} is not a readable safetensors file or torch checkpoint ({error}); make or fetch it again"
        raise UserError(message) from error
