"""One recipe's full training step on this machine: `python -m benchmarks.step [--recipe=voc_mlt] [--batch=32]`.

ResNet-50, 224x224, random weights and pixels, the tables of as many images as the dataset has; both passes count, so
the timed steps are of the second epoch. Prints seconds a step (median), compile time and the process's peak memory.
"""

import argparse
import resource
import statistics
import time
from pathlib import Path

import jax
import numpy as np

from configs import coco_mlt, nuswide_lt, voc_mlt
from ltpml_jax import priors
from ltpml_jax.data.records import Records, Split
from ltpml_jax.data.setting import Setting
from ltpml_jax.data.source import Dataset
from ltpml_jax.setup import Run, assemble, compile_step, fresh_state
from ltpml_jax.state import batch_sharding, make_mesh
from ltpml_jax.types import Config

# images, classes: of VOC-MLT and COCO-MLT as published; NUS-WIDE's training set in round numbers.
RECIPES = {"voc_mlt": (voc_mlt, 1142, 20), "coco_mlt": (coco_mlt, 1909, 80), "nuswide_lt": (nuswide_lt, 100_000, 81)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--recipe", choices=RECIPES, default="voc_mlt")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--two_jits", action="store_true")
    arguments = parser.parse_args()
    module, images, classes = RECIPES[arguments.recipe]
    config = module.get_config()
    config.data.batch_size, config.data.image_size = arguments.batch, arguments.size
    config.model.backbone, config.model.dtype = arguments.backbone, arguments.dtype
    config.train.one_jit = not arguments.two_jits
    seconds, compiling = measure(config, images, classes, arguments.steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{arguments.recipe}: {arguments.backbone}, {arguments.size} px, batch {arguments.batch}, {arguments.dtype},")
    print(f"{jax.device_count()} x {jax.devices()[0].device_kind}, one_jit={config.train.one_jit}")
    print(f"{statistics.median(seconds):.2f} s a step (of {arguments.steps}: {min(seconds):.2f} to {max(seconds):.2f})")
    print(f"compilation and first step {compiling:.1f} s, peak memory of the process {peak:.1f} GiB")


def measure(config: Config, images: int, classes: int, steps: int) -> tuple[list[float], float]:
    """Seconds of each timed step, and of the first one with its compilation."""
    run = assemble(config, synthetic(images, classes), Path(), make_mesh(jax.devices()), pretrained=False)
    state, step = fresh_state(run), compile_step(run)
    times = []
    for number in range(steps + 1):
        batch = jax.device_put(random_batch(run, number), batch_sharding(run.mesh))
        started = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch))
        times.append(time.perf_counter() - started)
    return times[1:], times[0]


def synthetic(images: int, classes: int) -> Setting:
    """Candidate sets with a tail, without images; an epoch of one step, so that the timed ones have both passes."""
    rng = np.random.default_rng(0)
    labels = (rng.random((images, classes)) < np.geomspace(0.5, 5 / images, classes)).astype(np.int8)
    split = Split(Records("synthetic", "", "train", images, classes), labels)
    dataset = Dataset("synthetic", split, split, None, tuple(f"class {j}" for j in range(classes)), {})
    rows, prior = np.arange(images), priors.oracle_prior(labels)
    return Setting(dataset, rows, split, rows[:0], labels, labels, labels[:0], prior, "", steps_per_epoch=1)


def random_batch(run: Run, seed: int) -> dict[str, np.ndarray]:
    config, served, rng = run.config.data, run.setting.served, np.random.default_rng(seed)
    index = rng.integers(0, len(served), config.batch_size, dtype=np.int32)
    image = rng.integers(0, 256, (config.batch_size, config.image_size, config.image_size, 3), dtype=np.uint8)
    return {"image": image, "index": index, "label": served[index].astype(np.uint8)}


if __name__ == "__main__":
    main()
