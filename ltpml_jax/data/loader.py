"""The batches of a run: training by position, validation and test in order; of each, this process's part.

grain does the threads, the worker processes and the reading ahead. A batch is a function of (seed, its number) alone.
So the iterator's state is that number, and a run may be resumed with other numbers of threads and workers.
"""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grain
import numpy as np
from absl import flags
from jax.sharding import Mesh

from ltpml_jax.data import augment, batches, sampler
from ltpml_jax.data.batches import AugmentSpec, Batch, BatchPart, InOrder, LabelTable, RecordSource, TrainBatch
from ltpml_jax.data.candidates import ClassLists
from ltpml_jax.data.feed import Feed
from ltpml_jax.data.sampler import EpochOrders
from ltpml_jax.data.task import Task
from ltpml_jax.methods.settings import Config
from ltpml_jax.state import own_part


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
        if not flags.FLAGS.is_parsed():  # grain reads its flags; a program without absl has the defaults
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
    records: RecordSource,
    table: LabelTable,
    order: EpochOrders,
    spec: AugmentSpec,
    part: BatchPart,
    seed: int,
    workers: int,
    threads: int,
) -> grain.IterDataset:
    """This process's part of all batches of the run, as an IterDataset whose iterator can be saved and restored.

    A part of b places is {"image": uint8 [b,S,S,3], "index": int32 [b] (row in `records`), "states": int8 [b,C] (rows
    of `table`), "note": uint8 [b,16] (a hash of the id and the image's CRC-32), "unreadable": int32 [b] (-1, or the
    row that should have stood there)}. The iterator's get_state() is a small dict for JSON, the same in every process.
    Close the iterator when done: with `workers` above 0 it owns processes. They are spawned, so the main module must
    be guarded by `if __name__ == "__main__"`.

    Raises:
        UserError: while iterating, an image that cannot be decoded, unless such images are skipped.
    """
    batch = TrainBatch(records, table, order, spec, part, seed)
    return _Batches(grain.MapDataset.range(len(order) // part.size).map(batch), threads, workers)


def eval_batches(
    records: RecordSource, rows: np.ndarray, part: BatchPart, image_size: int, threads: int, resize: augment.Resize
) -> Iterator[Batch]:
    """This process's part of batches of every row once, in order, resized only: {"image", "mask": bool [b]}.

    Places after the last row have mask False, and so have, where they are skipped, images that cannot be read.

    Raises:
        UserError: while iterating, an image that cannot be decoded, unless such images are skipped.
    """
    batch = InOrder(records, rows, part, image_size, resize)
    batches = grain.MapDataset.range(-(-len(rows) // part.size)).map(batch)
    with contextlib.closing(iter(batches.to_iter_dataset(_read_options(threads)))) as iterator:
        yield from iterator


@dataclass(frozen=True)
class Subset:
    """Some rows of records, numbered anew from 0; picklable."""

    records: Any
    rows: np.ndarray

    def __len__(self) -> int:
        """Number of rows kept."""
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """The record of a row, with its new number as index."""
        return {**self.records[int(self.rows[row])], "index": row}

    def __repr__(self) -> str:
        """That of the records."""
        return repr(self.records)


def train_iterator(config: Config, task: Task, mesh: Mesh) -> Any:
    """All training batches of the run, as a checkpointable grain iterator."""
    data, length = config.data, task.steps_per_epoch * config.data.batch_size
    class_aware = data.sampler == "class_aware"
    lists = ClassLists.of(task.lists) if class_aware else ClassLists(np.zeros((0, 0), np.uint8), len(task.train))
    order = sampler.EpochOrders(data.sampler, lists, length, config.train.epochs, config.seed)
    spec = batches.AugmentSpec(
        data.image_size, (data.min_crop, data.max_crop), tuple(data.crop_ratio), data.flip, augment.RESIZES[data.resize]
    )
    batches_of_run = train_loader(
        Subset(task.dataset.train.records, task.train), task.served, order, spec,
        _part(config, mesh, data.batch_size), seed=config.seed, workers=data.workers, threads=data.threads,
    )  # fmt: skip
    return iter(batches_of_run)


def train_feed(config: Config, task: Task, mesh: Mesh, iterator: Any) -> Feed:
    """The iterator's batches on their way to the devices, with what every process receives of each."""
    size = config.data.batch_size
    blank = batches.blank_train(len(_part(config, mesh, size)), config.data.image_size, task.served.shape[1])
    total = task.steps_per_epoch * config.train.epochs
    return Feed(iterator, mesh, size, blank, ("note", "index", "unreadable"), total)


def validation_batches(config: Config, task: Task, mesh: Mesh) -> Feed:
    """The held-out training images, each once."""
    return _in_order(config, task.held_out, task.validation, mesh)


def familiar_batches(config: Config, task: Task, mesh: Mesh) -> tuple[Feed, int, str]:
    """Images as those trained on: the held-out ones, or, where none are, at most 5,000 that train; how many, and which.

    A validation split of the dataset's own is left aside: its classes may be as frequent as those of test.
    """
    held, every = task.held_out is task.dataset.train and len(task.validation) > 0, -(-len(task.train) // 5000)
    rows = task.validation if held else task.train[::every]
    feed = _in_order(config, task.dataset.train, rows, mesh)
    return feed, len(rows), f"{len(rows)} {'held-out' if held else 'training'} images"


def test_batches(config: Config, task: Task, mesh: Mesh) -> Feed:
    """The test images, each once."""
    return _in_order(config, task.dataset.test, np.arange(len(task.dataset.test.labels)), mesh)


def all_training_batches(config: Config, task: Task, mesh: Mesh) -> Feed:
    """The images of the training split, held-out ones as well, each once and without augmentation."""
    return _in_order(config, task.dataset.train, np.arange(len(task.dataset.train.labels)), mesh)


def _in_order(config: Config, split: Any, rows: np.ndarray, mesh: Mesh) -> Feed:
    size = config.eval.batch_size + -config.eval.batch_size % mesh.size  # rounded up: the end is padded anyway
    part, resize = _part(config, mesh, size), augment.RESIZES[config.data.resize]
    side, threads = config.data.image_size, config.data.threads
    read: Iterator[batches.Batch] = eval_batches(split.records, rows, part, side, threads, resize)
    return Feed(read, mesh, size, batches.blank_in_order(len(part), side), ("mask",), -(-len(rows) // size))


def _part(config: Config, mesh: Mesh, size: int) -> batches.BatchPart:
    return batches.BatchPart(size, own_part(mesh, size), config.data.unreadable == "skip")
