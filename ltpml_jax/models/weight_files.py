"""Files of named arrays, at a path or on the Hugging Face hub: safetensors, and torch checkpoints without torch."""

import hashlib
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ltpml_jax.errors import UserError
from ltpml_jax.models import torch_files
from ltpml_jax.runtime.files import check_regular, expanded


def read(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """The tensors of a file by name, in the file's own dtypes and layouts, and the file's sha256 (hex).

    Raises:
        UserError: the file cannot be read, or is of neither format, or is damaged, or is no regular file.
    """
    try:
        check_regular(path)
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


_CONNECT = 4.0  # seconds that the hub may take to answer a first time
PREFIX = "hf:"
DEFAULT_FILE = "model.safetensors"  # timm's and transformers' name for a repository's weights


def locate(source: str | Path) -> Path:
    """The local path of a weights file.

    Args:
        source: a path ("~" is expanded), or "hf:OWNER/NAME" or "hf:OWNER/NAME/FILE" for a file of a repository
            (default model.safetensors). The latter is cached: without a network, the copy of last time is used.
            The environment's HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE hold, as everywhere with the hub.

    Raises:
        UserError: the hub's file can be neither fetched nor found in the cache.
    """
    text = str(source)
    if not text.startswith(PREFIX):
        return expanded(text)
    repository, file = _parse(text)
    return _download(text, repository, file)


def _parse(text: str) -> tuple[str, str]:
    parts = text.removeprefix(PREFIX).split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise UserError(f"{text!r} names no file of the hub; write hf:OWNER/NAME or hf:OWNER/NAME/FILE")
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else DEFAULT_FILE


def _download(text: str, repository: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download  # half a second that only hf: sources should cost
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # it warns of every attempt; the error below says what came of them
    try:
        _check_hub(repository, file)
        return Path(hf_hub_download(repository, file))
    # Beside its own errors the library lets its HTTP client's through, and that client changes between versions.
    except Exception as error:
        raise UserError(
            f"cannot fetch {file} of {text} ({_reason(error)}); check the name and the network, set HF_ENDPOINT to a"
            " mirror of the hub, download the file elsewhere and give its path, or train without it by"
            " --config.model.pretrained="
        ) from error


def _check_hub(repository: str, file: str) -> None:
    """Raise ConnectionError where the hub cannot be reached for a file that is not in the cache.

    The library would ask six times for that, over half a minute; all else that may be wrong is for it to find.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(repository, file), str):
        return
    try:
        get_hf_file_metadata(hf_hub_url(repository, file), timeout=_CONNECT)
    except Exception as error:
        if type(error).__name__ in ("ConnectError", "ConnectTimeout"):  # httpx's, and of what took its place
            raise ConnectionError from error


def _reason(error: Exception) -> str:
    from huggingface_hub import errors

    reasons = (  # the first that fits: the classes inherit from each other
        (errors.GatedRepoError, "the repository gives access on request only: ask on its page, then set HF_TOKEN"),
        (errors.RepositoryNotFoundError, "no such repository, or a private one: then set HF_TOKEN"),
        (
            (errors.LocalEntryNotFoundError, ConnectionError),
            "the hub cannot be reached, and the file is not in the cache",
        ),
        (errors.EntryNotFoundError, "the repository has no such file"),
        (Exception, " ".join(str(error).split()) or type(error).__name__),
    )
    return next(reason for kind, reason in reasons if isinstance(error, kind))
