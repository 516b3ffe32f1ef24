"""From encoded records to batches: grain does the threads, the worker processes and the reading ahead.

A batch is a function of (seed, its number) alone. So the iterator's state is that number, and a run may go
on with other numbers of threads and workers than it began with.
"""

import contextlib
import functools
import hashlib
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grain
import numpy as np
from absl import flags

from ltpml_jax.data import augment
from ltpml_jax.data.sampler import EpochOrders
from ltpml_jax.errors import UserError

Batch = dict[str, np.ndarray]
_AUGMENTATION = 3  # keeps these streams apart from the sampler's


class Records(Protocol):
    """Random access to {"image": bytes, "index": int, "id": str, "labels": int8 [C]}; picklable."""

    def __len__(self) -> int:
        """Number of records."""
        ...

    def __getitem__(self, row: int, /) -> Mapping[str, Any]:
        """The record of a row."""
        ...


@dataclass(frozen=True)
class AugmentSpec:
    """From an encoded training image to its pixels."""

    image_size: int  # side of the result, in pixels
    min_crop: float  # least side of the crop, as a share of the image's
    crop_ratio: tuple[float, float]  # range of the crop's width / height
    flip: float  # probability of mirroring
    resize: augment.Resize  # a value of augment.RESIZES


def _pixels(record: Mapping[str, Any], resize: augment.Resize, crop: augment.Crop, size: int) -> np.ndarray:
    try:
        return resize(record["image"], crop, size)
    except ValueError as error:
        raise UserError(
            f"image {record['id']!r} (index {record['index']}) cannot be decoded: {error}; "
            "delete the prepared dataset and prepare it again."
        ) from error


@dataclass(frozen=True)
class _TrainBatch:
    """Number of a batch -> the batch; a class, so that worker processes can be sent it.

    Whole batches are the unit of work: each image is copied to its place while the cache still holds it.
    """

    records: Records
    table: np.ndarray
    order: EpochOrders
    spec: AugmentSpec
    size: int
    seed: int

    def __call__(self, number: int) -> Batch:
        positions = range(number * self.size, (number + 1) * self.size)
        rows = np.array([self.order[position] for position in positions], np.int32)
        side, digest = self.spec.image_size, hashlib.blake2b(digest_size=16)
        images = np.empty((self.size, side, side, 3), np.uint8)
        for image, position, row in zip(images, positions, rows, strict=True):
            record = self.records[int(row)]
            image[:] = self._image(record, position)
            # A CRC each, as a cryptographic hash of the pixels takes a fifth of the time of decoding them.
            digest.update(f"{record['id']}\n{zlib.crc32(image.data)}\n".encode())
        label = self.table[rows].astype(np.uint8)
        return {"image": images, "index": rows, "label": label, "digest": np.frombuffer(digest.digest(), np.uint8)}

    def _image(self, record: Mapping[str, Any], position: int) -> np.ndarray:
        spec, key = self.spec, np.random.SeedSequence((self.seed, _AUGMENTATION, position))
        rng = np.random.Generator(np.random.Philox(key))
        crop = functools.partial(augment.draw_crop, rng=rng, min_side=spec.min_crop, ratio=spec.crop_ratio)
        return augment.flip(_pixels(record, spec.resize, crop, spec.image_size), rng, spec.flip)


def _read_options(threads: int) -> grain.ReadOptions:
    # Two batches a thread are enough to keep it busy; grain's default of 500 would hold gigabytes.
    return grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)


class _Batches(grain.IterDataset):
    """A MapDataset of batches, read in order by threads and worker processes."""

    def __init__(self, batches: grain.MapDataset, threads: int, workers: int) -> None:
        super().__init__()
        self.batches, self.threads, self.workers = batches, threads, workers

    def __iter__(self) -> "_BatchIterator":
        return _BatchIterator(self)

    def starting_at(self, number: int) -> grain.DatasetIterator:
        rest = self.batches.slice(slice(number, None)).to_iter_dataset(_read_options(self.threads))
        if not self.workers:
            return iter(rest)
        if not flags.FLAGS.is_parsed():  # grain looks at its flags; a program without absl has the defaults
            flags.FLAGS.mark_as_parsed()
        # Batches come through pipes: shared memory is scarce in containers, and grain leaves some behind.
        no_shared_memory = grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
        rest = grain.experimental.WithOptionsIterDataset(rest, no_shared_memory)
        return iter(rest.mp_prefetch(grain.MultiprocessingOptions(self.workers, per_worker_buffer_size=2)))


class _BatchIterator(grain.DatasetIterator):
    """grain's own state differs with the number of workers; this one counts batches and nothing else."""

    def __init__(self, dataset: _Batches) -> None:
        super().__init__()
        self._dataset = dataset
        self._next = 0
        self._reader: grain.DatasetIterator | None = None

    def __next__(self) -> Batch:
        self._assert_not_closed()
        if self._next >= len(self._dataset.batches):
            self._stop_reader()
            raise StopIteration
        self.start_prefetch()
        assert self._reader is not None
        batch = next(self._reader)
        self._next += 1
        return batch

    def get_state(self) -> dict[str, int]:
        return {"next_batch": self._next}

    def set_state(self, state: dict[str, int]) -> None:
        number, total = state["next_batch"], len(self._dataset.batches)
        if not 0 <= number <= total:
            raise ValueError(f"there is no batch {number} in a run of {total}")
        self._stop_reader()
        self._next = number

    def start_prefetch(self) -> None:
        if self._reader is None:
            self._reader = self._dataset.starting_at(self._next)
            self._reader.start_prefetch()

    def close(self) -> None:
        self._stop_reader()
        super().close()

    def _stop_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def train_loader(
    records: Records,
    table: np.ndarray,
    order: EpochOrders,
    spec: AugmentSpec,
    batch_size: int,
    seed: int,
    workers: int,
    threads: int,
) -> grain.IterDataset:
    """All batches of the run, as an IterDataset whose iterator can be saved and restored.

    A batch is {"image": uint8 [B,S,S,3], "index": int32 [B] (row in `records`), "label": uint8 [B,C] (rows of
    `table`), "digest": uint8 [16] (blake2b of the ids and of every image's CRC-32)}. The iterator's get_state()
    is a small dict for JSON. Close the iterator when done: with `workers` above 0 it owns processes. They are
    spawned, so the main module must be guarded by `if __name__ == "__main__"`.

    Raises:
        UserError: while iterating, an image that cannot be decoded.
    """
    batch = _TrainBatch(records, table, order, spec, batch_size, seed)
    return _Batches(grain.MapDataset.range(len(order) // batch_size).map(batch), threads, workers)


def _collate_padded(samples: Sequence[dict[str, Any]], batch_size: int) -> Batch:
    padded = [*samples, *[samples[-1]] * (batch_size - len(samples))]
    return {
        "image": np.stack([sample["image"] for sample in padded]),
        "index": np.array([sample["index"] for sample in padded], np.int32),
        "label": np.stack([sample["label"] for sample in padded]).astype(np.uint8),
        "mask": np.arange(batch_size) < len(samples),
    }


def eval_batches(
    records: Records,
    rows: Sequence[int] | np.ndarray,
    batch_size: int,
    image_size: int,
    threads: int,
    resize: augment.Resize,
) -> Iterator[Batch]:
    """Every row once, in order, resized only: {"image", "index", "label" (the record's), "mask": bool [B]}.

    The last batch is filled up by repeating its last sample with mask False. Types as in `train_loader`.

    Raises:
        UserError: while iterating, an image that cannot be decoded.
    """

    def sample(position: int) -> dict[str, Any]:
        row = int(rows[position])
        record = records[row]
        image = _pixels(record, resize, augment.whole, image_size)
        return {"image": image, "index": row, "label": record["labels"]}

    collate = functools.partial(_collate_padded, batch_size=batch_size)
    batches = grain.MapDataset.range(len(rows)).map(sample).batch(batch_size, batch_fn=collate)
    with contextlib.closing(iter(batches.to_iter_dataset(_read_options(threads)))) as iterator:
        yield from iterator
