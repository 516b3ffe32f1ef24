"""The pickle inside a torch checkpoint: containers, and tensors that are views of storages kept outside of it.

Sources: torch/_utils.py (how a tensor is put together again), torch/serialization.py (what a persistent id holds).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ltpml_jax import safe_pickle
from ltpml_jax.errors import UserError

DTYPES = {
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


class Storage(NamedTuple):
    """A flat run of numbers; without data its tensors are None."""

    dtype: np.dtype
    data: memoryview | None


def unpickle(pickled: bytes, what: str, find: Callable[[str, np.dtype], memoryview | None]) -> Any:
    """What a checkpoint's pickle describes.

    Args:
        pickled: the pickle.
        what: the file's name in messages.
        find: (key, dtype) -> the bytes of a storage, little-endian.

    Raises:
        UserError: a forbidden or malformed pickle, or a tensor that reaches over the end of its storage.
    """

    def storage(persistent_id: Any) -> Storage:
        match persistent_id:
            # The fields after the key: device, number of elements, and (in old files) the view, None as a rule.
            case ("storage", str(kind), str(key), str(), int(), *view) if kind in DTYPES and view in ([], [None]):
                return Storage(DTYPES[kind], find(key, DTYPES[kind]))
        raise broken(what, f"a storage described as {str(persistent_id)[:80]}")

    def tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray | None:
        return _tensor(storage, offset, size, stride, what)

    allowed = {
        ("torch._utils", "_rebuild_tensor_v2"): tensor,
        ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
        **{("torch", kind): kind for kind in DTYPES},  # a name is inert, whatever a pickle does with it
    }
    return safe_pickle.read(pickled, what, extra=allowed, persistent_load=storage)


def broken(what: str, reason: str) -> UserError:
    """The error of a damaged checkpoint."""
    return UserError(f"{what} is not a sound torch checkpoint ({reason}); fetch it or save it with torch.save again")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, what: str) -> np.ndarray | None:
    if not isinstance(storage, Storage):
        raise broken(what, "a tensor without a storage")
    if storage.data is None:
        return None
    try:
        width = storage.dtype.itemsize
        steps = tuple(step * width for step in stride)
        # The constructor refuses whatever would reach outside of the buffer.
        return np.ndarray(tuple(size), storage.dtype, storage.data, offset * width, steps)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise broken(what, f"a tensor does not fit its storage: {error}") from error
