"""Images a second of the training input, against its limit and against PyTorch, in alternating runs.

python -m benchmarks.input [--width=500 --height=375] [--rounds=5]
python -m benchmarks.input --memory     # resident memory after each of 5 epochs
python -m benchmarks.input --overlap    # what input adds to a step of known length

All get the same generated JPEGs of about 75 KB, in the page cache, and make batches of 32 crops of 224x224 pixels.
Times run from the first batch on. Ratios are refused where the load is above 0.5 a core at the start; with --busy the
table says so.

* decoding alone: two threads, OpenCV, from memory: the limit for whoever decodes whole images with it;
* ours: `loader.train_loader` with two threads over a prepared dataset, as NumPy batches (uint8), by data.resize;
  colour distortion and normalisation are part of the training step and not in these, but in "opencv + distortion",
  where they are compiled for this CPU;
* PyTorch: DataLoader with two worker processes over the JPEG files. "opencv" and "pillow" make the very pixels of
  ours of that name (checked) as uint8; "recipe" is what a PyTorch recipe does on the host: Pillow's pixels, colour
  distortion, normalisation, float32.
"""

import argparse
import functools
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import jax
import numpy as np

from benchmarks import input_checks, machine, photos
from ltpml_jax import photometric
from ltpml_jax.data import augment, loader, sampler
from ltpml_jax.data.batches import BatchPart
from ltpml_jax.data.candidates import ClassLists
from ltpml_jax.data.datasets import Dataset

BATCH = 32
LIMIT = "decoding alone"
Rate = tuple[float, int]  # images a second, and the sum of the first batch's pixels (0: not one of pixels)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=500, help="of the JPEGs in pixels")
    parser.add_argument("--height", type=int, default=375, help="of the JPEGs in pixels")
    parser.add_argument("--images", type=int, default=512, help="how many JPEGs")
    parser.add_argument("--passes", type=int, default=8, help="how often a run goes through them")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, after one to warm up")
    parser.add_argument("--size", type=int, default=224, help="side of the crops, resized, in pixels")
    parser.add_argument("--memory", action="store_true", help="measure memory instead")
    parser.add_argument("--overlap", action="store_true", help="measure what input adds to a step instead")
    parser.add_argument("--busy", action="store_true", help="measure ratios on a busy machine too")
    return parser.parse_args()


def order_of(dataset: Dataset, passes: int) -> sampler.EpochOrders:
    length = len(dataset.train.labels) // BATCH * BATCH
    lists = ClassLists(np.zeros((0, 0), np.uint8), len(dataset.train.labels))
    return sampler.EpochOrders("shuffle", lists, length, passes, seed=0)


def own_loader(dataset: Dataset, resize: str, passes: int, size: int, workers: int = 0):
    spec = loader.AugmentSpec(size, (0.8, 1.0), (0.5, 2.0), 0.5, augment.RESIZES[resize])
    records, labels = dataset.train.records, dataset.train.labels
    part = BatchPart(BATCH, slice(0, BATCH), skip=False)
    return loader.train_loader(records, labels, order_of(dataset, passes), spec, part, 0, workers, 2)


def decode_rate(paths: list[Path], passes: int) -> Rate:
    encoded = [path.read_bytes() for path in paths]

    def decode(share: int) -> None:
        for one in encoded[share::2] * passes:
            augment.decode(one)

    with ThreadPoolExecutor(2) as pool:
        start = time.perf_counter()
        list(pool.map(decode, range(2)))
        return len(encoded) * passes / (time.perf_counter() - start), 0


@functools.cache
def distortion() -> Callable[[jax.Array, np.ndarray], jax.Array]:
    """The colour distortion of the recipe and the normalisation, compiled."""
    spec = photometric.JitterSpec(32.0, (0.5, 1.5), (0.5, 1.5), 18.0, True)
    return jax.jit(lambda key, image: photometric.normalise(photometric.distort(key, image.astype(np.float32), spec)))


def our_rate(dataset: Dataset, resize: str, passes: int, size: int, distorted: bool) -> Rate:
    iterator = iter(own_loader(dataset, resize, passes, size))
    first, done = int(next(iterator)["image"].sum(dtype=np.int64)), None
    count, start = 0, time.perf_counter()
    for batch in iterator:
        count += BATCH
        if distorted:
            before, done = done, distortion()(jax.random.key(count), batch["image"])
            jax.block_until_ready(before)
    jax.block_until_ready(done)
    seconds = time.perf_counter() - start
    iterator.close()
    return count / seconds, first


def contenders(
    dataset: Dataset, paths: list[Path], pool: Executor, passes: int, size: int
) -> dict[str, Callable[[], Rate]]:
    """By name, one run of each; PyTorch's in a process of its own, as its workers are forked."""
    found: dict[str, Callable[[], Rate]] = {LIMIT: functools.partial(decode_rate, paths, passes)}
    for resize in augment.RESIZES:
        found[f"ours {resize}"] = functools.partial(our_rate, dataset, resize, passes, size, False)
    found["ours opencv + distortion"] = functools.partial(our_rate, dataset, "opencv", passes, size, True)
    if find_spec("torch") is None:
        print("torch is not installed; PyTorch is left out")
        return found
    from benchmarks import torch_input  # torch is optional

    orders = order_of(dataset, passes)
    order = np.array([orders[position] for position in range(len(orders))])
    for kind in ("opencv", "pillow", "recipe"):
        found[f"PyTorch {kind}"] = lambda kind=kind: pool.submit(
            torch_input.rate, paths, order, kind, size, BATCH
        ).result()
    return found


def measure(dataset: Dataset, paths: list[Path], arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    """Images a second of every round, by contender; they take turns."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found = contenders(dataset, paths, pool, arguments.passes, arguments.size)
        firsts = {name: run()[1] for name, run in found.items()}  # warms up
        for kind in ("opencv", "pillow"):
            assert firsts.get(f"PyTorch {kind}", firsts[f"ours {kind}"]) == firsts[f"ours {kind}"], "other pixels"
        rounds = [{name: run()[0] for name, run in found.items()} for _ in range(arguments.rounds)]
    return {name: np.array([rates[name] for rates in rounds]) for name in found}


def show(rates: dict[str, np.ndarray], paths: list[Path], arguments: argparse.Namespace, note: str) -> None:
    """Medians over the rounds, of rates and of their ratios within a round."""
    kilobytes = np.mean([path.stat().st_size for path in paths]) / 1000
    print(f"python -m benchmarks.input {' '.join(sys.argv[1:])}")
    print(f"{os.cpu_count()} cores, {platform.machine()}; Python {platform.python_version()}")
    pixels = f"{arguments.width}x{arguments.height}"
    print(f"{len(paths)} JPEGs, {pixels}, {kilobytes:.0f} KB; medians of {arguments.rounds} rounds")
    compared = [name for name in rates if name == LIMIT or name.startswith("PyTorch")]
    print(note)
    print(f"{'':26}{'images/s':>10}" + "".join(f"{'/ ' + name:>18}" for name in compared))
    for name, rate in rates.items():
        ratios = "".join(f"{np.median(rate / rates[other]):18.2f}" for other in compared)
        print(f"{name:26}{np.median(rate):10.0f}{ratios}")


def main() -> None:
    arguments = parse()
    note = machine.load_note(busy_too=arguments.busy or arguments.memory)
    with tempfile.TemporaryDirectory() as folder:
        paths = photos.write(Path(folder), arguments.images, arguments.width, arguments.height)
        dataset = photos.prepare(paths, Path(folder))
        make = functools.partial(own_loader, dataset, "opencv", size=arguments.size)
        if arguments.memory:
            input_checks.memory(make, len(order_of(dataset, 1)) // BATCH)
        elif arguments.overlap:
            print(note)
            input_checks.overlap(make, arguments.passes)
        else:
            show(measure(dataset, paths, arguments), paths, arguments, note)


if __name__ == "__main__":
    main()
