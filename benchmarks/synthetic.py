"""Experiments without images: labels with a tail, random pixels, for steps and programs of any size."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from ltpml_jax.data.candidates import LabelRows
from ltpml_jax.data.datasets import Dataset
from ltpml_jax.data.records import Records, Split
from ltpml_jax.data.task import Task
from ltpml_jax.experiment import Experiment, assemble
from ltpml_jax.methods import priors
from ltpml_jax.methods.settings import Config
from ltpml_jax.state import batch_sharding, make_mesh

PATTERNS = 10_000


def synthetic(images: int, classes: int) -> Task:
    """Candidate sets with a tail, without images; an epoch of one step, so that the second step has both passes.

    At most PATTERNS different rows, that repeat: a table of any size costs its row numbers alone.
    """
    rng, rows = np.random.default_rng(0), np.arange(images)
    states = (rng.random((min(images, PATTERNS), classes)) < np.geomspace(0.5, 5 / images, classes)).astype(np.int8)
    served = LabelRows(states, rows % len(states), "negative")
    split = Split(Records("synthetic", "", "train", images, classes), states)
    dataset = Dataset("synthetic", split, split, None, tuple(f"class {j}" for j in range(classes)), {})
    prior = priors.oracle_prior(served.candidate_counts(), images)
    return Task(dataset, rows, split, rows[:0], served, served, states[:0], prior, "", steps_per_epoch=1)


def assembled(config: Config, images: int, classes: int, devices: list[Any] | None = None) -> Experiment:
    """The experiment of a config on such data, with random weights, on these devices (None: on all)."""
    mesh = make_mesh(devices or jax.devices())
    return assemble(config, synthetic(images, classes), Path(), mesh, "random")


def random_batch(run: Experiment, seed: int) -> dict[str, np.ndarray]:
    """A batch of random images with their rows' labels, on the host."""
    config, served, rng = run.config.data, run.task.served, np.random.default_rng(seed)
    index = rng.integers(0, len(served), config.batch_size, dtype=np.int32)
    image = rng.integers(0, 256, (config.batch_size, config.image_size, config.image_size, 3), dtype=np.uint8)
    return {"image": image, "index": index, "states": served[index]}


def placed_batch(run: Experiment, seed: int) -> dict[str, jax.Array]:
    """The same on the run's devices."""
    return jax.device_put(random_batch(run, seed), batch_sharding(run.mesh))
