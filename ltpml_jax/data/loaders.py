"""The batches of a run: training by position, validation and test in order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltpml_jax.data import augment, pipeline, sampler
from ltpml_jax.data.setting import Setting
from ltpml_jax.types import Config


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


def train_iterator(config: Config, setting: Setting) -> Any:
    """All training batches of the run, as a checkpointable grain iterator."""
    data, steps = config.data, setting.steps_per_epoch
    order = sampler.EpochOrders(data.sampler, setting.lists, steps * data.batch_size, config.train.epochs, config.seed)
    spec = pipeline.AugmentSpec(
        data.image_size, data.min_crop, tuple(data.crop_ratio), data.flip, augment.RESIZES[data.resize]
    )
    loader = pipeline.train_loader(
        Subset(setting.dataset.train.records, setting.train), setting.served, order, spec,
        batch_size=data.batch_size, seed=config.seed, workers=data.workers, threads=data.threads,
    )  # fmt: skip
    return iter(loader)


def validation_batches(config: Config, setting: Setting, devices: int) -> Iterator[dict]:
    """The held-out training images, each once."""
    return _in_order(config, setting.held_out, setting.validation, devices)


def test_batches(config: Config, setting: Setting, devices: int) -> Iterator[dict]:
    """The test images, each once."""
    return _in_order(config, setting.dataset.test, np.arange(len(setting.dataset.test.labels)), devices)


def _in_order(config: Config, split: Any, rows: np.ndarray, devices: int) -> Iterator[dict]:
    batch = config.eval.batch_size + -config.eval.batch_size % devices  # rounded up: the end is padded anyway
    resize = augment.RESIZES[config.data.resize]
    return pipeline.eval_batches(split.records, rows, batch, config.data.image_size, config.data.threads, resize)
