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
the other stop spinning. Figures are medians over the rounds. Where there is a GPU all of it runs there. Tables of
ratios are refused where the load is above 0.5 a core at the start; with --busy they are printed and say so.
"""

import argparse
import os
import resource
import statistics
import time

import jax

from benchmarks import machine, step_tables
from benchmarks.synthetic import assembled, placed_batch
from configs import coco_mlt, nuswide_lt, voc_mlt
from ltpml_jax.experiment import compile_step, fresh_state
from ltpml_jax.methods.settings import Config

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
    for name in ("two_jits", "overhead", "torch", "sweep", "switches", "busy"):
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
    arguments = parse()
    if arguments.torch:  # room for both on one GPU; read when the backend starts
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.45")
    compared = next((name for name in ("sweep", "switches", "overhead", "torch") if getattr(arguments, name)), "")
    note = machine.load_note(busy_too=arguments.busy or not compared)
    _, images, classes = RECIPES[arguments.recipe]
    batches, dtypes = [int(batch) for batch in arguments.batch.split(",")], arguments.dtype.split(",")
    print(f"{arguments.recipe}: {arguments.backbone}, {arguments.size} px, batch {arguments.batch}, {arguments.dtype},")
    print(f"{jax.device_count()} x {jax.devices()[0].device_kind}, {os.cpu_count()} cores")
    if compared == "sweep":
        configs = [configured(arguments, batch, dtype) for dtype in dtypes for batch in batches]
        step_tables.sweep(configs, images, classes, arguments.steps, arguments.torch, note)
        return
    config = configured(arguments, batches[0], dtypes[0])
    if not compared:
        plain(config, images, classes, arguments.steps, arguments.profile, note)
        return
    tables = {
        "switches": step_tables.switches,
        "overhead": step_tables.overhead,
        "torch": step_tables.against_torch,
    }
    found = tables[compared](config, images, classes, arguments.steps)
    step_tables.show(found, config.data.batch_size, note)


def plain(config: Config, images: int, classes: int, steps: int, profile: str, note: str) -> None:
    seconds, compiling = measure(config, images, classes, steps, profile)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"one_jit={config.train.one_jit}: {statistics.median(seconds):.2f} s a step", end="")
    print(f" (of {steps}: {min(seconds):.2f} to {max(seconds):.2f}), {note}")
    print(f"compilation and first step {compiling:.1f} s, peak memory of the process {peak:.1f} GiB")


def measure(config: Config, images: int, classes: int, steps: int, profile: str = "") -> tuple[list[float], float]:
    """Seconds of each timed step, and of the first one with its compilation."""
    run = assembled(config, images, classes)
    state, step = fresh_state(run), compile_step(run)
    times = []
    for number in range(steps + 1):
        batch = placed_batch(run, number)
        started = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch))
        times.append(time.perf_counter() - started)
    if profile:
        with jax.profiler.trace(profile):
            for number in range(3):
                state, _ = jax.block_until_ready(step(state, placed_batch(run, number)))
    return times[1:], times[0]


if __name__ == "__main__":
    main()
