"""A full training step on this machine: `python -m benchmarks.step [--recipe=voc_mlt] [--batch=32]`.

ResNet-50, 224x224, random weights and pixels, the tables of as many images as the dataset has; both passes count, so
the timed steps are of the second epoch. Prints seconds a step (median), compile time and the process's peak memory.

* --overhead: NDLP's step against two plain forward and backward passes of the same network with one SGD update;
* --torch: against eager PyTorch doing the same work (`torch_step.py`; needs torch in the same environment);
* --sweep: images a second, memory and share of the measured matrix rate for every --batch and --dtype (lists with
  commas), and against PyTorch with --torch;
* --switches: 1x1 convolutions as products or not, BatchNorm folded or not, one program or two;
* --profile=DIR: a trace of three steps for TensorBoard or Perfetto.

Contenders of one table alternate in one process, with half a second of rest before each turn, in which the threads of
the other stop spinning. Figures are medians over the rounds. Where there is a GPU all of it runs there.
"""

import argparse
import os
import resource
import statistics
import time
from pathlib import Path

import jax
import numpy as np

from configs import coco_mlt, nuswide_lt, voc_mlt
from ltpml_jax.data.candidates import LabelRows
from ltpml_jax.data.datasets import Dataset
from ltpml_jax.data.records import Records, Split
from ltpml_jax.data.task import Task
from ltpml_jax.experiment import Experiment, assemble, compile_step, fresh_state
from ltpml_jax.methods import priors
from ltpml_jax.methods.settings import Config
from ltpml_jax.state import batch_sharding, make_mesh

PATTERNS = 10_000
# images, classes: of VOC-MLT and COCO-MLT as published; NUS-WIDE's training set in round numbers.
RECIPES = {"voc_mlt": (voc_mlt, 1142, 20), "coco_mlt": (coco_mlt, 1909, 80), "nuswide_lt": (nuswide_lt, 100_000, 81)}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=RECIPES, default="voc_mlt")
    parser.add_argument("--batch", default="32", help="with --sweep a list: 32,128,256")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--dtype", default="float32", help="with --sweep a list: float32,bfloat16")
    parser.add_argument("--steps", type=int, default=3, help="timed steps, or rounds of a table")
    parser.add_argument("--profile", default="")
    for name in ("two_jits", "overhead", "torch", "sweep", "switches"):
        parser.add_argument(f"--{name}", action="store_true")
    return parser.parse_args()


def configured(arguments: argparse.Namespace, batch: int, dtype: str) -> Config:
    """A recipe's config with what the command line changes."""
    config = RECIPES[arguments.recipe][0].get_config()
    config.data.batch_size, config.data.image_size = batch, arguments.size
    config.model.backbone, config.model.dtype = arguments.backbone, dtype
    config.train.one_jit = not arguments.two_jits
    return config


def main() -> None:
    from benchmarks import step_tables  # it needs this module

    arguments = parse()
    if arguments.torch:  # room for both on one GPU; read when the backend starts
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.45")
    _, images, classes = RECIPES[arguments.recipe]
    batches, dtypes = [int(batch) for batch in arguments.batch.split(",")], arguments.dtype.split(",")
    print(f"{arguments.recipe}: {arguments.backbone}, {arguments.size} px, batch {arguments.batch}, {arguments.dtype},")
    print(f"{jax.device_count()} x {jax.devices()[0].device_kind}, load {os.getloadavg()[0]:.1f}")
    if arguments.sweep:
        configs = [configured(arguments, batch, dtype) for dtype in dtypes for batch in batches]
        step_tables.sweep(configs, images, classes, arguments.steps, arguments.torch)
        return
    config = configured(arguments, batches[0], dtypes[0])
    if arguments.switches:
        step_tables.switches(config, images, classes, arguments.steps)
    elif arguments.overhead:
        step_tables.overhead(config, images, classes, arguments.steps)
    elif arguments.torch:
        step_tables.against_torch(config, images, classes, arguments.steps)
    else:
        plain(config, images, classes, arguments.steps, arguments.profile)


def plain(config: Config, images: int, classes: int, steps: int, profile: str) -> None:
    seconds, compiling = measure(config, images, classes, steps, profile)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"one_jit={config.train.one_jit}: {statistics.median(seconds):.2f} s a step", end="")
    print(f" (of {steps}: {min(seconds):.2f} to {max(seconds):.2f})")
    print(f"compilation and first step {compiling:.1f} s, peak memory of the process {peak:.1f} GiB")


def measure(config: Config, images: int, classes: int, steps: int, profile: str = "") -> tuple[list[float], float]:
    """Seconds of each timed step, and of the first one with its compilation."""
    run = assemble(config, synthetic(images, classes), Path(), make_mesh(jax.devices()), pretrained=False)
    state, step = fresh_state(run), compile_step(run)
    times = []
    for number in range(steps + 1):
        batch = jax.device_put(random_batch(run, number), batch_sharding(run.mesh))
        started = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch))
        times.append(time.perf_counter() - started)
    if profile:
        with jax.profiler.trace(profile):
            for number in range(3):
                state, _ = jax.block_until_ready(step(state, jax.device_put(random_batch(run, number))))
    return times[1:], times[0]


def synthetic(images: int, classes: int) -> Task:
    """Candidate sets with a tail, without images; an epoch of one step, so that the timed ones have both passes.

    At most PATTERNS different rows, that repeat: a table of any size costs its row numbers alone.
    """
    rng, rows = np.random.default_rng(0), np.arange(images)
    states = (rng.random((min(images, PATTERNS), classes)) < np.geomspace(0.5, 5 / images, classes)).astype(np.int8)
    served = LabelRows(states, rows % len(states), "negative")
    split = Split(Records("synthetic", "", "train", images, classes), states)
    dataset = Dataset("synthetic", split, split, None, tuple(f"class {j}" for j in range(classes)), {})
    prior = priors.oracle_prior(served.candidate_counts(), images)
    return Task(dataset, rows, split, rows[:0], served, served, states[:0], prior, "", steps_per_epoch=1)


def random_batch(run: Experiment, seed: int) -> dict[str, np.ndarray]:
    config, served, rng = run.config.data, run.task.served, np.random.default_rng(seed)
    index = rng.integers(0, len(served), config.batch_size, dtype=np.int32)
    image = rng.integers(0, 256, (config.batch_size, config.image_size, config.image_size, 3), dtype=np.uint8)
    return {"image": image, "index": index, "states": served[index]}


if __name__ == "__main__":
    main()
