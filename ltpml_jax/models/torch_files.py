"""torch checkpoints (.pth, .pt) as NumPy arrays: without torch, and without running anything that a file contains.

Read is the zip format of torch 1.6 and later: a pickle, and one uncompressed record for each storage.
Sources: torch/serialization.py (_save, _load), torch/_utils.py (how a tensor is put together), ZIP application note.
"""

import functools
import io
import struct
import zipfile
import zlib
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ltpml_jax.errors import UserError
from ltpml_jax.runtime import unpickle

_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a pickled number of torch's choice
HEAD = len(_LEGACY)  # bytes of a file that `recognises` needs
_REMEDY = "fetch it again, or save a state_dict() with torch.save again"
_WRAPPERS = ("state_dict", "model")  # where training scripts put the state dict
_LOCAL_HEADER = struct.Struct("<26xHH")  # its last two fields: lengths of the name and of the extra field
_DTYPES = {
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "DoubleStorage": np.dtype(np.float64),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}


class _Storage(NamedTuple):
    """A flat run of numbers."""

    dtype: np.dtype
    data: memoryview


def recognises(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a torch checkpoint, be it in the format from before 1.6."""
    return head.startswith((_ZIP, _LEGACY))


def read(data: bytes, what: str) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint by name, as views of its bytes.

    Args:
        data: the file: a state dict, or a dict with one under "state_dict" or "model".
        what: its name in messages.

    Raises:
        UserError: the file is in torch's format from before 1.6, is damaged, contains anything but tensors, numbers,
            strings and containers of them, or has no state dict.
    """
    if data.startswith(_LEGACY):
        raise UserError(
            f"{what} is in torch's format from before version 1.6, which is not read here; convert it once, where "
            "torch is installed: torch.save(torch.load(OLD, map_location='cpu', weights_only=True), NEW)."
        )
    loaded = _load(data, what)
    for wrapper in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    entries = loaded.items() if isinstance(loaded, dict) else ()
    tensors = {name: value for name, value in entries if isinstance(name, str) and isinstance(value, np.ndarray)}
    if not tensors:
        raise UserError(f"{what} has no tensors under names, alone or in 'state_dict' or 'model'; save a state_dict().")
    return tensors


def _load(data: bytes, what: str) -> Any:
    """The object in a checkpoint. Nothing is unpacked to disk: a record is found by its name, which leads nowhere."""
    records = _records(data, what)
    content = functools.cache(functools.partial(_content, data, records, what))  # tensors of one storage check it once
    if "byteorder" in records and content("byteorder") != b"little":
        raise _broken(what, "it is not in little-endian byte order")

    def storage(persistent_id: Any) -> _Storage:
        match persistent_id:
            # The fields after the key: device and number of elements.
            case ("storage", str(kind), str(key), str(), int()) if kind in _DTYPES:
                return _Storage(_DTYPES[kind], content(f"data/{key}"))
        raise _broken(what, f"a storage described as {persistent_id!r:.80}")

    extra = {
        ("torch._utils", "_rebuild_tensor_v2"): lambda *fields: _tensor(what, *fields[:4]),
        ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        **{("torch", kind): kind for kind in _DTYPES},  # a name does nothing, whatever a pickle does with it
    }
    return unpickle.read(bytes(content("data.pkl")), what, extra, storage, _REMEDY)


def _records(data: bytes, what: str) -> dict[str, zipfile.ZipInfo]:
    """The records by their names below the archive's one top folder."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, EOFError) as error:
        raise _broken(what, f"{error}") from error
    # torch compresses nothing, so what a file holds is no longer than the file.
    packed = [record.filename for record in records if record.compress_type != zipfile.ZIP_STORED]
    if packed or sum(record.file_size for record in records) > len(data):
        raise _broken(what, "its records are compressed or overlap")
    return {record.filename.partition("/")[2]: record for record in records}


def _content(data: bytes, records: dict[str, zipfile.ZipInfo], what: str, name: str) -> memoryview:
    """A record's bytes, without copying them."""
    if (record := records.get(name)) is None:
        raise _broken(what, f"it has no record {name[:80]!r}")
    try:
        names, extras = _LOCAL_HEADER.unpack_from(data, record.header_offset)
    except (struct.error, OverflowError) as error:
        raise _broken(what, f"the record {name!r} lies outside of it") from error
    start = record.header_offset + _LOCAL_HEADER.size + names + extras
    content = memoryview(data)[start : start + record.file_size]
    if zlib.crc32(content) != record.CRC:
        raise _broken(what, f"the record {name!r} does not match its checksum")
    return content


def _tensor(what: str, storage: Any, offset: Any, size: Any, stride: Any) -> np.ndarray:
    if not isinstance(storage, _Storage):
        raise _broken(what, "a tensor without a storage")
    width = storage.dtype.itemsize
    try:
        # The constructor refuses whatever would reach outside of the buffer.
        steps = tuple(step * width for step in stride)
        return np.ndarray(tuple(size), storage.dtype, storage.data, offset * width, steps)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise _broken(what, f"a tensor does not fit its storage: {error}") from error


def _broken(what: str, reason: str) -> UserError:
    return UserError(f"{what} is not a sound torch checkpoint ({' '.join(reason.split())}); {_REMEDY}.")
