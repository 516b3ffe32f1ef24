"""What grows with images, classes, batch and devices, and what does not: `python -m benchmarks.scaling [PART ...]`.

Everything runs on virtual CPU devices, each count of devices in a process of its own.

* moved: what the whole NDLP step (ResNet-18, 32 pixels, batch 256) moves between 8 devices, for N = 1e3 to 1e7
  images, read from the compiled program; another network changes the gradients' share alone.
* memory: bytes on each of 8 devices of the state's initialisation and of the step, as XLA plans them, against the
  device's share of the table; N = 2e6, C = 1000 (`--images`, `--classes`).
* real: both of them run at that size, and the peak memory of the process, which holds all 8 devices.
* mixup: the step at 224 pixels with 4 to 64 images a device, partners from the whole batch or from blocks of 32.
* weak: NDLP's work on its state, without a network, on 1 to 8 devices with 32 images and 100,000 rows on each, in
  alternating rounds. Virtual devices share the cores of one machine: bytes and flops are worth more than seconds.
  Its ratios of times are refused where the load is above 0.5 a core at the start; with --busy the table says so.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from benchmarks import machine, words

IMAGES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
MIB = 2**20
Figures = dict[str, Any]


def child(devices: int, part: str, **arguments: int) -> Figures:
    """What `benchmarks.scaling_parts` finds in a process with so many devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "benchmarks.scaling_parts", part, json.dumps(arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{part} {arguments} on {devices} devices failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def show_collectives(figures: Figures) -> None:
    """Collectives of a program by kind and result, largest first."""
    grouped: dict[tuple[str, str], list[Figures]] = defaultdict(list)
    for item in figures["moved"]:
        grouped[item["kind"], item["result"]].append(item)
    print(f"  {'times':>5} {'kind':<18} {'MiB, all':>9}  arrays")
    for (kind, result), items in sorted(grouped.items(), key=lambda pair: -sum(item["bytes"] for item in pair[1])):
        arrays = result.split(" ")
        text = " ".join(arrays[:3]) + (f" and {len(arrays) - 3} more" if len(arrays) > 3 else "")
        print(f"  {len(items):>5} {kind:<18} {sum(item['bytes'] for item in items) / MIB:>9.3f}  {text}")


def moved(images: tuple[int, ...] = IMAGES, classes: int = 80, batch: int = 256, size: int = 32) -> list[Figures]:
    print(f"moved in a step, 8 devices, C={classes}, batch {batch}, ResNet-18 at {size} pixels; MiB on each device")
    print(f"{'N':>10}{'collectives':>13}{'results':>10}{'sent':>10}{'scratch':>10}{'same as first':>15}")
    found: list[Figures] = []
    for count in images:
        figures = child(8, "step", images=count, classes=classes, batch=batch, size=size)
        found.append(figures)
        sums = [sum(item[key] for item in figures["moved"]) / MIB for key in ("bytes", "sent")]
        row = f"{count:>10}{len(figures['moved']):>13}{sums[0]:>10.2f}{sums[1]:>10.2f}{figures['temp'] / MIB:>10.1f}"
        print(f"{row}{'yes' if figures['moved'] == found[0]['moved'] else 'NO':>15}", flush=True)
    show_collectives(found[0])
    return found


def memory(images: int, classes: int) -> None:
    print(f"planned memory of each of 8 devices, N={images}, C={classes}, MiB (ResNet-18, 32 pixels, batch 256)")
    for part, more in (("init", {}), ("step", {"batch": 256, "size": 32})):
        figures = child(8, part, images=images, classes=classes, **more)
        names = ("share", "argument", "output", "alias", "temp")
        print(f"{part}: " + ", ".join(f"{name} {figures[name] / MIB:.1f}" for name in names))
        show_collectives(figures)


def real(note: str, images: int, classes: int) -> None:
    figures = child(8, "real", images=images, classes=classes)
    print(f"run on 8 devices of one process, N={images}, C={classes}, {note}; MiB of the process")
    print(", ".join(f"{name} {value / MIB:.0f}" for name, value in figures["memory"].items()))
    print(f"seconds: {figures['seconds']}")


def mixup(size: int = 224, per_device: tuple[int, ...] = (4, 32, 64)) -> None:
    print(f"the step at {size} pixels, ResNet-18, 8 devices, MiB on each device")
    print(f"{'batch':>6}{'mixup_block':>13}{'its images':>12}{'scratch':>9}{'sent':>9}  largest array moved")
    for count in per_device:
        for block in (0, 32):
            figures = child(8, "step", images=10_000, classes=80, batch=8 * count, size=size, block=block)
            pixels, sent = count * size * size * 3 * 4, sum(item["sent"] for item in figures["moved"])
            arrays = [item for item in figures["moved"] if item["kind"] != "all-reduce"]
            largest = max(arrays, key=lambda item: item["bytes"])
            sizes = f"{pixels / MIB:>12.1f}{figures['temp'] / MIB:>9.0f}{sent / MIB:>9.1f}"
            print(f"{8 * count:>6}{block:>13}{sizes}  {largest['result']}", flush=True)


def weak(note: str, rounds: int = 5, repeats: int = 200, rows: int = 100_000, batch: int = 32) -> None:
    counts = (1, 2, 4, 8)
    seconds: dict[int, list[float]] = {devices: [] for devices in counts}
    figures: dict[int, Figures] = {}
    for _ in range(rounds):
        for devices in counts:
            figures[devices] = child(devices, "update", rows=rows, batch=batch, repeats=repeats)
            seconds[devices].append(figures[devices]["seconds"])
    print(f"state update, {batch} images and {rows} rows of 80 classes on each device; {note}")
    columns = ("devices", "us/step", "ratio", "flops here", "scratch B", "collectives", "sent B")
    print("".join(f"{name:>13}" for name in columns))
    first = statistics.median(seconds[1])
    for devices, found in figures.items():
        median, sent = statistics.median(seconds[devices]), sum(item["sent"] for item in found["moved"])
        row = f"{devices:>13}{1e6 * median:>13.0f}{median / first:>13.2f}{found['flops']:>13.0f}{found['temp']:>13.0f}"
        print(f"{row}{len(found['moved']):>13}{sent:>13.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts, usual = ("moved", "memory", "real", "mixup", "weak"), ["moved", "memory", "mixup", "weak"]
    parser.add_argument("parts", nargs="*", type=lambda text: words.names(parts)(text)[0], default=usual)
    parser.add_argument("--images", type=int, default=2_000_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--busy", action="store_true", help="ratios of times on a busy machine too")
    arguments = parser.parse_args()
    note = machine.load_note(busy_too=arguments.busy or "weak" not in arguments.parts)
    large = {"images": arguments.images, "classes": arguments.classes}
    run: dict[str, Callable[[], Any]] = {
        "moved": moved,
        "memory": lambda: memory(**large),
        "real": lambda: real(note, **large),
        "mixup": mixup,
        "weak": lambda: weak(note),
    }
    for part in arguments.parts:
        run[part]()
        print()


if __name__ == "__main__":
    main()
