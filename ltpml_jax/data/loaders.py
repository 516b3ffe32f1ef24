"""The batches of a run: training by position, validation and test in order; of each, this process's part."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax.sharding import Mesh

from ltpml_jax.data import augment, batches, loader, sampler
from ltpml_jax.data.candidates import ClassLists
from ltpml_jax.data.feed import Feed
from ltpml_jax.data.task import Setting
from ltpml_jax.methods.settings import Config
from ltpml_jax.state import own_part


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


def train_iterator(config: Config, setting: Setting, mesh: Mesh) -> Any:
    """All training batches of the run, as a checkpointable grain iterator."""
    data, length = config.data, setting.steps_per_epoch * config.data.batch_size
    class_aware = data.sampler == "class_aware"
    lists = ClassLists.of(setting.lists) if class_aware else ClassLists(np.zeros((0, 0), np.uint8), len(setting.train))
    order = sampler.EpochOrders(data.sampler, lists, length, config.train.epochs, config.seed)
    spec = batches.AugmentSpec(
        data.image_size, data.min_crop, tuple(data.crop_ratio), data.flip, augment.RESIZES[data.resize]
    )
    batches_of_run = loader.train_loader(
        Subset(setting.dataset.train.records, setting.train), setting.served, order, spec,
        _part(config, mesh, data.batch_size), seed=config.seed, workers=data.workers, threads=data.threads,
    )  # fmt: skip
    return iter(batches_of_run)


def train_feed(config: Config, setting: Setting, mesh: Mesh, iterator: Any) -> Feed:
    """The iterator's batches on their way to the devices, with what is told of each."""
    size = config.data.batch_size
    blank = batches.blank_train(len(_part(config, mesh, size)), config.data.image_size, setting.served.shape[1])
    total = setting.steps_per_epoch * config.train.epochs
    return Feed(iterator, mesh, size, blank, ("note", "index", "unreadable"), total)


def validation_batches(config: Config, setting: Setting, mesh: Mesh) -> Feed:
    """The held-out training images, each once."""
    return _in_order(config, setting.held_out, setting.validation, mesh)


def test_batches(config: Config, setting: Setting, mesh: Mesh) -> Feed:
    """The test images, each once."""
    return _in_order(config, setting.dataset.test, np.arange(len(setting.dataset.test.labels)), mesh)


def _in_order(config: Config, split: Any, rows: np.ndarray, mesh: Mesh) -> Feed:
    size = config.eval.batch_size + -config.eval.batch_size % mesh.size  # rounded up: the end is padded anyway
    part, resize = _part(config, mesh, size), augment.RESIZES[config.data.resize]
    side, threads = config.data.image_size, config.data.threads
    read: Iterator[batches.Batch] = loader.eval_batches(split.records, rows, part, side, threads, resize)
    return Feed(read, mesh, size, batches.blank_in_order(len(part), side), ("mask",), -(-len(rows) // size))


def _part(config: Config, mesh: Mesh, size: int) -> batches.Part:
    return batches.Part(size, own_part(mesh, size), config.data.unreadable == "skip")
