"""Small runs for the tests: on data that is built once a session, inside this process or as processes of their own."""

import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from configs import digits_mlt
from ltpml_jax import trainer
from ltpml_jax.data import datasets
from ltpml_jax.methods.settings import Config
from ltpml_jax.runtime import compile_cache
from tests.helpers import session, tiny

ROOT = Path(__file__).parents[2]
# 9 steps an epoch. The batch divides among 8 devices; that of evaluation does not have to.
SMALL = {
    "data.batch_size": 256,
    "data.image_size": 16,
    "train.epochs": 2,
    "model.frozen_stages": 3,  # with gradients through all of them the step compiles for twice as long
    "eval.batch_size": 190,
    "train.step_limit": 60.0,  # after a fifth of it, a silent process counts as dead
}


# Programs that any process of the suite compiled are kept for all others, and for the next time that the suite runs.
CACHE = {
    "jax_compilation_cache_dir": str(compile_cache.folder("compiled_for_tests")),
    "jax_compilation_cache_max_size": compile_cache.LARGEST,  # a bound, so that JAX locks what several processes write
    "jax_persistent_cache_min_compile_time_secs": 0.25,  # to keep one, JAX reads the ages of all that it has
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@functools.cache
def data_dir() -> Path:
    """Where digits_mlt lies, built on the first call."""
    return session.once("data", lambda folder: datasets.load("digits_mlt", str(folder)))


def overrides(**changes: Any) -> dict[str, Any]:
    """The fields of a small run; double underscores in `changes` stand for dots."""
    return SMALL | {"data.dir": str(data_dir())} | {k.replace("__", "."): v for k, v in changes.items()}


def config(**changes: Any) -> Config:
    """The config of a small run at partial rate 0.3."""
    made = digits_mlt.get_config("0.3")
    made.update_from_flattened_dict(overrides(**changes))
    return made


@functools.cache
def finished() -> Path:
    """The work directory of a run with a checkpoint every 4 steps that 8 devices trained; do not change it."""
    return session.once("finished", lambda workdir: trainer.train(config(train__checkpoint_every=4), workdir))


def tiny_run(workdir: Path, **changes: Any) -> None:
    """Train (or resume) a small run on the network of tiny.py, in this process."""
    with tiny.everywhere(), session.least_optimised():
        trainer.train(config(**TINY | changes), workdir)


@functools.cache
def eight_devices() -> Path:
    """The work directory of such a run on 8 devices with a checkpoint every 4 steps; do not change it."""
    return session.once("eight_devices", lambda workdir: tiny_run(workdir, train__checkpoint_every=4))


def copy_of_finished(to: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(finished(), to / "copy"))


TINY = {"model__pretrained": ""}  # beside the network of tiny.py


def lines(workdir: Path) -> list[dict[str, Any]]:
    """The records of a run."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def command(workdir: Path, **changes: Any) -> list[str]:
    """The command line of a small run."""
    fields = [f"--config.{name}={value}" for name, value in overrides(**changes).items()]
    return [*python("main"), f"--config={ROOT}/configs/digits_mlt.py:0.3", f"--workdir={workdir}", *fields]


def tiny_command(workdir: Path, **changes: Any) -> list[str]:
    """The command line of a small run on the network of tiny.py."""
    _, _, _, *rest = command(workdir, **TINY | changes)
    return [sys.executable, "-m", "tests.helpers.tiny_main", *rest]


def python(command: str) -> list[str]:
    """The start of the command line of one of the package's commands; "main" trains, as the launch files do."""
    return [sys.executable, "-m", *(["ltpml_jax.main"] if command == "main" else ["ltpml_jax", command])]


def environment() -> dict[str, str]:
    """One CPU device, and compiled programs kept for the next process."""
    return os.environ | {"XLA_FLAGS": session.QUICK} | {name.upper(): str(value) for name, value in CACHE.items()}


def start(arguments: list[str], **variables: str) -> subprocess.Popen[str]:
    """A process whose output is kept."""
    pipe = subprocess.PIPE
    return subprocess.Popen(arguments, cwd=ROOT, env=environment() | variables, stdout=pipe, stderr=pipe, text=True)


def start_all(arguments: list[Any], processes: int, devices: int = 1) -> list[subprocess.Popen[str]]:
    """A command (or one for each) as several processes of one run, each with so many virtual devices."""
    commands = arguments if isinstance(arguments[0], list) else [arguments] * processes
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    shared = {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": str(processes),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{session.QUICK} --xla_force_host_platform_device_count={devices}",
    }
    return [start(one, **shared, JAX_PROCESS_ID=str(number)) for number, one in enumerate(commands)]


def wait_all(processes: list[subprocess.Popen[str]], seconds: float = 600) -> list[subprocess.CompletedProcess[str]]:
    """Their ends; those that do not come within the time are killed."""
    deadline, ended = time.monotonic() + seconds, []
    for process in processes:
        try:
            out, err = process.communicate(timeout=max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        ended.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return ended


def call(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        arguments, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=600, check=False
    )


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a command that refused, after checking that there is nothing else to see."""
    assert done.returncode == 2, done.stderr
    *before, last = done.stderr.splitlines()
    assert last.startswith("error: ") and "Traceback" not in done.stderr, done.stderr
    assert not any(line.startswith("error: ") for line in before)
    return last.removeprefix("error: ")
