"""From image files to logits: read by threads, a few batches ahead, never all in memory."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import grain
import numpy as np

from ltpml_jax.errors import UserError
from ltpml_jax.evaluation.opened import OpenRun
from ltpml_jax.inference.inputs import printable
from ltpml_jax.runtime import startup


class Outputs(NamedTuple):
    """Of some images in a row: errors, "" for one that was read; logits float32 [n, C], NaN for one that was not."""

    errors: list[str]
    logits: np.ndarray


@dataclass(frozen=True)
class _Read:
    """Number of a batch -> its pixels uint8 [n, S, S, 3], blank where they cannot be read, and the errors."""

    run: OpenRun
    places: Sequence[Path]
    size: int

    def __call__(self, number: int) -> tuple[np.ndarray, list[str]]:
        places = self.places[number * self.size : (number + 1) * self.size]
        side = self.run.config.data.image_size
        pixels, errors = np.zeros((len(places), side, side, 3), np.uint8), [""] * len(places)
        for row, place in enumerate(places):
            try:
                pixels[row] = self.run.pixels(place)
            except UserError as error:
                errors[row] = printable(str(error))
        return pixels, errors


def outputs(run: OpenRun, places: Sequence[Path], threads: int) -> Iterator[Outputs]:
    """The headline's logits of image files, in order, in batches of `run.batch_size`.

    Raises UserError, while iterating, where the network's outputs are not finite.
    """
    read = _Read(run, places, run.batch_size)
    batches = grain.MapDataset.range(-(-len(places) // run.batch_size)).map(read)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    with contextlib.closing(iter(batches.to_iter_dataset(options))) as iterator:
        for pixels, errors in iterator:
            logits = run.logits(pixels)[run.predictions[0]].copy()
            logits[np.array(errors) != ""] = 0
            if not np.isfinite(logits).all():
                raise UserError(
                    f"The outputs of the network in {run.workdir} are not finite; train it again with a lower "
                    "config.optim.learning_rate."
                )
            logits[np.array(errors) != ""] = np.nan
            startup.collect_garbage()
            yield Outputs(errors, logits)
