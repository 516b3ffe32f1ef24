"""Batches on their way to the devices, and what every process receives with each of them.

Each process has its part of a batch. SIGTERM, or an image that cannot be read, comes to one process alone; were it to
leave at once, the others would wait for it without end. So it continues, with a flag beside its part (and, where it
has none, with a part of zeros), until all have gathered the flag, which they do at the same batch.
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ltpml_jax.errors import UserError
from ltpml_jax.runtime import preemption, processes
from ltpml_jax.state import batch_sharding

AHEAD = 2  # batches queued on the devices: enough to keep them busy, few enough for a flag to arrive in time
_GO, _STOP, _FAILED = 0, 1, 2
Arrays = dict[str, jax.Array]
Gathered = dict[str, np.ndarray]


class Feed:
    """Iterates over (arrays, broadcasts): a batch's arrays over all devices, and those that `gather` makes whole."""

    def __init__(
        self, parts: Iterator[dict], mesh: Mesh, size: int, blank: dict, broadcast: tuple[str, ...], count: int
    ) -> None:
        """Batches of `size` places, `count` at most, of which `parts` gives this process's part.

        blank: a part of zeros. broadcast: names of a part's arrays that every process receives from all.
        """
        self.parts, self.mesh, self.size, self.blank, self.left = parts, mesh, size, blank, count
        self.broadcast = broadcast
        self.sharding = batch_sharding(mesh)
        self.replicate = jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, P()))
        self.failure: UserError | None = None

    def __iter__(self) -> Iterator[tuple[Arrays, Arrays]]:
        """Itself."""
        return self

    def __next__(self) -> tuple[Arrays, Arrays]:
        """The next batch; in every process the same number of them."""
        if self.left <= 0:
            raise StopIteration
        self.left -= 1
        part = self._part()
        flag = _FAILED if self.failure else _STOP if preemption.asked() else _GO
        arrays = {name: self._over_devices(value, self.size) for name, value in part.items()}
        broadcasts = {name: arrays[name] for name in self.broadcast}
        own = sum(device.process_index == jax.process_index() for device in self.mesh.devices.flat)
        broadcasts["flag"] = self._over_devices(np.full(own, flag, np.int8), self.mesh.size)
        return arrays, self.replicate(broadcasts)

    def gather(self, broadcasts: Arrays) -> Gathered:
        """The broadcast arrays of a batch, once the devices have come to it; the same in every process.

        Raises UserError in all where one could not read its part. "stop" is whether SIGTERM came to any.
        """
        gathered: Gathered = jax.device_get(broadcasts)
        flags = gathered.pop("flag")
        if (flags == _FAILED).any():
            processes.together(self._fail)
        return gathered | {"stop": (flags == _STOP).any()}

    def _part(self) -> dict[str, np.ndarray]:
        if self.failure is None:
            try:
                return next(self.parts)
            except UserError as error:
                self.failure = error
        return self.blank

    def _over_devices(self, part: Any, size: int) -> jax.Array:
        return jax.make_array_from_process_local_data(self.sharding, part, (size, *part.shape[1:]))

    def _fail(self) -> None:
        if self.failure:
            raise self.failure
