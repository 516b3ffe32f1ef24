"""The checks of `ltpml preflight` as one process makes them."""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import ltpml_jax
from ltpml_jax.config import fields
from ltpml_jax.data import augment, datasets
from ltpml_jax.errors import UserError
from ltpml_jax.experiment import build_experiment, choose_devices
from ltpml_jax.methods.settings import Config
from ltpml_jax.runtime import checkpoints, processes
from ltpml_jax.state import TrainState, batch_sharding, make_mesh
from ltpml_jax.trainer import check_before_data

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
LABELS = 2**25  # of a split are compared; of a larger one every k-th row
GPU = Path("/dev/nvidia0")  # NVIDIA's driver makes it for the first GPU
KEPT = 4  # checkpoints that may lie there at a time: the two newest, the best, and one that is being written

Common = dict[str, Any]  # what must be the same in all processes, by name
Check = Callable[[], tuple[str, Common]]  # -> (text for people, what must be common); raises what is bad


class Checks:
    """What one process checks; every method but `host` is a Check."""

    hosts: list[str]  # by process, once they have been exchanged

    def __init__(self, config: Config, workdir: Path) -> None:
        """Checks nothing yet."""
        self.config, self.workdir = config, workdir
        self.good: set[str] = set()  # checks that `run` builds on
        self.state: TrainState | None = None  # its shapes

    def host(self) -> str:
        """This process's host; UserError where the processes cannot even exchange that."""
        counts = Counter(device.process_index for device in jax.devices())
        usual = Counter(counts.values()).most_common(1)[0][0]
        odd = [f"process {number} has {count} devices" for number, count in sorted(counts.items()) if count != usual]
        if odd:
            raise UserError(f"{', '.join(odd)}, elsewhere {usual}; no more can be checked before all have as many.")
        return socket.gethostname()

    def processes(self) -> tuple[str, Common]:
        """As many as the environment names, and where they are."""
        count, expected = jax.process_count(), processes.expected()[1]
        if expected not in (1, count):
            raise UserError(f"the environment names {expected} processes, but {count} have joined; see launch/.")
        hosts = list(dict.fromkeys(self.hosts))
        more = f" and {len(hosts) - 8} more" if len(hosts) > 8 else ""
        return f"{_many(count, 'process')} on {_many(len(hosts), 'host')} ({', '.join(hosts[:8])}{more})", {}

    def versions(self) -> tuple[str, Common]:
        """Python, the packages that matter, and this one to the last letter of its source."""
        found = {"Python": platform.python_version()}
        found |= {name: importlib.metadata.version(name) for name in PACKAGES}
        found["ltpml_jax"] = f"{ltpml_jax.__version__} (source {_source_digest()})"
        return ", ".join(f"{name} {version}" for name, version in found.items()) + _the_same(), found

    def fields(self) -> tuple[str, Common]:
        """The config; only where the dataset lies may differ, as a host may have a copy of its own."""
        found = {name: value for name, value in fields(self.config).items() if name != "data.dir"}
        found = json.loads(json.dumps(found))
        digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]
        return f"{len(found)} fields, sha256 {digest}{_the_same()}", {f"config.{name}": v for name, v in found.items()}

    def devices(self) -> tuple[str, Common]:
        """Of one kind, equally many in each process, and a batch divides among them."""
        kinds = sorted({f"{device.device_kind} ({device.platform})" for device in jax.local_devices()})
        found = {"the kind of its devices": ", ".join(kinds), "their number": jax.local_device_count()}
        chosen, total = choose_devices(self.config), jax.device_count()
        each = f", {jax.local_device_count()} in each process" if jax.process_count() > 1 else ""
        used = f", {len(chosen)} of them used" if len(chosen) < total else ""
        share = (
            f"a batch of {self.config.data.batch_size} is {self.config.data.batch_size // len(chosen)} images on each"
        )
        self.good.add("devices")
        return f"{total} x {', '.join(kinds)}{each}{used}; {share}{_unused_gpu()}", found

    def collective(self) -> tuple[str, Common]:
        """One sum over all devices, right, and how long it takes once it is compiled."""
        count = jax.device_count()
        mesh = make_mesh(jax.devices())
        numbers = jax.make_array_from_callback(
            (count,), batch_sharding(mesh), lambda index: np.arange(1, count + 1, dtype=np.int32)[index]
        )
        add = jax.jit(jnp.sum, out_shardings=NamedSharding(mesh, P()))
        first = int(add(numbers))
        began = time.monotonic()
        second, took = int(add(numbers)), time.monotonic() - began
        expected = count * (count + 1) // 2
        if not first == second == expected:
            raise UserError(f"the sum over {count} devices is {first}, then {second}, and not {expected}.")
        return f"a sum over {_many(count, 'device')} is right, and took {took * 1000:.1f} ms", {}

    def data(self) -> tuple[str, Common]:
        """The dataset opens, is the same one, and its first image decodes."""
        dataset = datasets.load(self.config.data.name, self.config.data.dir)
        splits = {"training": dataset.train, "validation": dataset.validation, "test": dataset.test}
        found: Common = {"number of classes": len(dataset.class_names)}
        for name, split in splits.items():
            if split is not None:
                found[f"number of {name} images"] = len(split.records)
                found[f"sha256 of the {name} labels"] = _digest(split.labels)
        _decode_first(dataset, self.config)
        self.good.add("data")
        counts = ", ".join(f"{len(split.records)} {name}" for name, split in splits.items() if split is not None)
        text = f"{dataset.name}: {counts} images of {len(dataset.class_names)} classes{_the_same()}"
        return f"{text}; the first image can be read", found

    def run(self) -> tuple[str, Common]:
        """Labels, network, optimiser and method fit together; no array of them is made."""
        if self.good != {"devices", "data"}:
            return "not checked before devices and data are good", {}
        check_before_data(self.config)
        made = build_experiment(self.config, self.workdir, make_mesh(choose_devices(self.config)), "none")
        self.state, task = made.shapes, made.task
        size = f"{len(task.train)} training images ({len(task.validation)} held out), {task.steps_per_epoch} steps"
        return f"{self.config.method.name}: {size} an epoch{_the_same()}", {"sha256 of candidate sets": task.digest}

    def room(self) -> tuple[str, Common]:
        """The work directory's disk has room for the checkpoints."""
        folder = next(path for path in (self.workdir.absolute(), *self.workdir.absolute().parents) if path.is_dir())
        free = shutil.disk_usage(folder).free
        if self.state is None:
            return f"{free / 1e9:.1f} GB free; how large a checkpoint is depends on the run", {}
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.state))
        there = sum(path.name.isdigit() for path in self.workdir.glob(f"{checkpoints.FOLDER}/*"))
        coming = max(KEPT - there, 1)
        sizes = f"{free / 1e9:.1f} GB free for up to {_many(coming, 'checkpoint')} of {size / 1e6:.1f} MB"
        if free < coming * size:
            raise UserError(f"{folder} has only {sizes} more; free some, or give another --workdir.")
        return sizes, {}


def _many(count: int, what: str) -> str:
    return f"{count} {what}{('es' if what.endswith('s') else 's') * (count != 1)}"


def _unused_gpu() -> str:
    """A warning where JAX has come to run on the CPU beside an NVIDIA GPU; "" where JAX_PLATFORMS wants it so."""
    sign = GPU if GPU.exists() else shutil.which("nvidia-smi")
    if not sign or jax.default_backend() != "cpu" or os.environ.get("JAX_PLATFORMS"):
        return ""
    return (
        f"; WARNING: JAX runs on the CPU, but there is an NVIDIA GPU ({sign}): install the extra cuda (pip install -e "
        '".[cuda]"), or cuda12 for a driver older than 580'
    )


def _the_same() -> str:
    count = jax.process_count()
    return f": the same in all {count} processes" if count > 1 else ""


@functools.cache
def _source_digest() -> str:
    """Distinguishes two checkouts of one version."""
    root, digest = Path(ltpml_jax.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _digest(labels: np.ndarray) -> str:
    """A hash of labels [N, C], or of a share of its rows where there are very many."""
    every = -(-labels.size // LABELS) or 1
    return hashlib.sha256(np.asarray(labels[::every]).tobytes()).hexdigest()[:12]


def _decode_first(dataset: datasets.Dataset, config: Config) -> None:
    """UserError where the first training image cannot be read as training reads it."""
    records = dataset.train.records
    try:
        augment.RESIZES[config.data.resize](records[0]["image"], augment.whole, config.data.image_size)
    except Exception as error:  # ArrayRecord, protobuf and OpenCV have kinds of their own
        raise UserError(
            f"the first training image in {records.folder} cannot be read ({error}); restore or rebuild that folder."
        ) from error
