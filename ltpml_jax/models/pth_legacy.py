"""torch's first format (torch < 1.6, and many published weights): pickles one after another, then the storages.

Source: torch/serialization.py (_legacy_save, _legacy_load).
"""

import io
import itertools
import pickletools
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from ltpml_jax import safe_pickle
from ltpml_jax.models.pth_tensors import broken, unpickle

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a pickled number of torch's choice
_PICKLES = 5  # that number, a version, facts of the system, the object, the keys of its storages
_COUNT = struct.Struct("<q")


def load(data: bytes, what: str) -> Any:
    """The object in a checkpoint, its tensors NumPy views of `data`; raises UserError (see `pth.read`)."""
    (_, _, system, pickled, keys), end = _split(data, what)
    facts = safe_pickle.read(system, what)
    if not (isinstance(facts, dict) and facts.get("little_endian")):
        raise broken(what, "it is not in little-endian byte order")
    # A storage has no length in bytes before its type is known, and that stands in the object: read twice.
    dtypes: dict[str, np.dtype] = {}
    unpickle(pickled, what, lambda key, dtype: dtypes.update({key: dtype}))
    storages = _storages(data, end, safe_pickle.read(keys, what), dtypes, what)
    return unpickle(pickled, what, lambda key, _: storages[key])


def _split(data: bytes, what: str) -> tuple[list[bytes], int]:
    """The pickles at the beginning, and where the last one ends."""
    stream, ends = io.BytesIO(data), [0]
    try:
        for _ in range(_PICKLES):
            for _ in pickletools.genops(stream):
                pass
            ends.append(stream.tell())
    except ValueError as error:
        raise broken(what, f"{error}") from error
    return [data[start:end] for start, end in itertools.pairwise(ends)], ends[-1]


def _storages(data: bytes, start: int, keys: Any, dtypes: Mapping[str, np.dtype], what: str) -> dict[str, memoryview]:
    if not (isinstance(keys, list) and all(isinstance(key, str) for key in keys) and set(keys) == dtypes.keys()):
        raise broken(what, "its list of storages is not the one of its tensors")
    found = {}
    for key in keys:
        count = _COUNT.unpack_from(data, start)[0] if start + _COUNT.size <= len(data) else -1
        start += _COUNT.size
        end = start + count * dtypes[key].itemsize
        if count < 0 or end > len(data):
            raise broken(what, f"it ends within the storage {key!r}")
        found[key] = memoryview(data)[start:end]
        start = end
    return found
