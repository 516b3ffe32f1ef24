"""Batches on their way to the devices, and what the processes tell each other with every one of them.

Each process has its part of a batch. SIGTERM, or an image that cannot be read, comes to one process alone; were it to
leave at once, the others would wait for it for ever. So it goes on, with a flag beside its part (and, where it has
none, with a part of zeros), until all have heard the flag, which they do at the same batch.
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

AHEAD = 2  # batches queued on the devices: enough to keep them busy, few enough to be heard in time
_GO, _STOP, _FAILED = 0, 1, 2
Arrays = dict[str, jax.Array]
Heard = dict[str, np.ndarray]


class Feed:
    """Iterates over (arrays, news): a batch's arrays over all devices, and what is told of it, for `hear`."""

    def __init__(
        self, parts: Iterator[dict], mesh: Mesh, size: int, blank: dict, told: tuple[str, ...], count: int
    ) -> None:
        """Batches of `size` places, `count` at most, of which `parts` gives this process's part.

        blank: a part of zeros. told: names of a part's arrays which all processes are told.
        """
        self.parts, self.mesh, self.size, self.blank, self.told, self.left = parts, mesh, size, blank, told, count
        self.sharding = batch_sharding(mesh)
        self.tell = jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, P()))
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
        news = {name: arrays[name] for name in self.told}
        own = sum(device.process_index == jax.process_index() for device in self.mesh.devices.flat)
        news["flag"] = self._over_devices(np.full(own, flag, np.int8), self.mesh.size)
        return arrays, self.tell(news)

    def hear(self, news: Arrays) -> Heard:
        """The news of a batch, once the devices have come to it; the same in every process.

        Raises UserError in all where one could not read its part. `heard["stop"]` says whether SIGTERM came to any.
        """
        heard: Heard = jax.device_get(news)
        flags = heard.pop("flag")
        if (flags == _FAILED).any():
            processes.together(self._fail)
        return heard | {"stop": (flags == _STOP).any()}

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
