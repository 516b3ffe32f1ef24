"""Where the launch files run in the tests: a virtual environment of stubs, a fake SLURM, a fake kubelet."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from tests.helpers import runs

LAUNCH = runs.ROOT / "launch"
FAKES = runs.ROOT / "tests" / "launch"
REAL = f'exec {sys.executable} "$@"'
JOIN = f'shift 2; exec {sys.executable} -m tests.launch.join "$@"'  # in place of -m ltpml_jax.main


def executable(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def environment(folder: Path, python: str, **variables: str) -> dict[str, str]:
    """Variables under which `python` of a launch file is the script `python`; the fakes log into `folder`."""
    executable(folder / "venv" / "bin" / "python", python)
    (folder / "venv" / "bin" / "activate").write_text(f'PATH="{folder}/venv/bin:$PATH"\n')
    executable(folder / "bin" / "scontrol", f'echo "$*" >> "{folder}/scontrol"')
    executable(folder / "bin" / "gcloud", f'printf "%s\\0" "$@" > "{folder}/gcloud"')
    executable(folder / "bin" / "srun", f'exec {sys.executable} {FAKES}/srun.py "$@"')
    own = {
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "VENV": f"{folder}/venv",
        "FAKE_SRUN_LOG": f"{folder}/srun",
    }
    others = ("SLURM_", "JAX_COORD", "MALLOC_")  # of where the tests run
    kept = {name: value for name, value in runs.environment().items() if not name.startswith(others)}
    return kept | own | variables


def in_slurm(folder: Path, python: str, **variables: str) -> dict[str, str]:
    """The same in a SLURM job whose number gives a port that is free: JAX computes one from the other."""
    job = {"SLURM_JOB_ID": str(free_port(61440) - 61440), "SLURM_CPUS_PER_TASK": "1"}
    return environment(folder, python, **job, **variables)


def free_port(lowest: int) -> int:
    for port in range(lowest + os.getpid() % 4000, 65536):
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("localhost", port)):
                return port
    raise AssertionError("every port is taken")


@contextmanager
def started(command: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The command in a process group of its own, of which nothing is left afterwards."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=runs.ROOT, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # SIGTERM is not enough for what waits in jax.distributed
        process.communicate()


def call(command: list[str], env: dict[str, str], limit: float = 30) -> subprocess.CompletedProcess[str]:
    """Run to the end, at most `limit` seconds."""
    with started(command, env) as process:
        stdout, stderr = process.communicate(timeout=limit)
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def script(name: str, *arguments: str) -> list[str]:
    return ["bash", str(LAUNCH / name), *arguments]


def steps(folder: Path) -> list[dict[str, Any]]:
    """What the fake srun was asked for, by step."""
    log = folder / "srun"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def until(condition: Callable[[], Any], process: subprocess.Popen[str], limit: float = 60) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate(timeout=10)
        time.sleep(0.005)


def joined(stdout: str) -> list[str]:
    """What join.py printed, in the order of the processes; Gloo writes there too."""
    return sorted(line for line in stdout.splitlines() if line.startswith("joined "))


def jobset() -> dict[str, Any]:
    return yaml.safe_load((LAUNCH / "jobset.yaml").read_text())


def pods(folder: Path, python: str, arguments: list[str], limit: float) -> list[subprocess.CompletedProcess[str]]:
    """What the pods of the JobSet end in: its command and its variables with these arguments, on one machine."""
    container = jobset()["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]
    port, processes = free_port(50000), []
    for index in range(jobset()["spec"]["replicatedJobs"][0]["template"]["spec"]["completions"]):
        env = environment(folder / str(index), python)
        env |= {entry["name"]: _value(entry, index, port) for entry in container["env"]}
        env["PATH"] = f"{folder}/{index}/venv/bin:{env['PATH']}"
        processes.append(started([*container["command"], *arguments], env))
    ended = []
    with processes[0] as first, processes[1] as second:
        for process in (first, second):
            stdout, stderr = process.communicate(timeout=limit)
            ended.append(subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr))
    return ended


def _value(entry: dict[str, Any], index: int, port: int) -> str:
    if "valueFrom" in entry:
        path = entry["valueFrom"]["fieldRef"]["fieldPath"]
        return {"metadata.annotations['batch.kubernetes.io/job-completion-index']": str(index)}[path]
    return entry["value"].replace("ltpml-workers-0-0.ltpml:8476", f"localhost:{port}")
