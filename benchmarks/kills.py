"""Kills small runs by SIGKILL at random moments until they have come to their end: `python -m benchmarks.kills`.

Every run is compared with one that was left alone: metrics.jsonl, results.json and all arrays of all checkpoints, bit
for bit. With `--processes=2`, one process or both are killed, and the survivor has to end by itself. Prints a line a
kill: when, whom, what the run was at, and how the survivor ended.
"""

import argparse
import functools
import os
import random
import signal
import tempfile
import time
from pathlib import Path

from benchmarks import words
from ltpml_jax.methods.all_methods import METHODS
from tests.helpers import runs
from tests.helpers.same_runs import assert_same

EVERY = 3  # steps between checkpoints
LIMIT = 40.0  # seconds


def start(workdir: Path, processes: int, method: str, tiny: bool, limit: float = LIMIT) -> list:
    """The processes of a run. `limit` to their start: one that is killed before it has joined is awaited until then."""
    make = runs.tiny_command if tiny else runs.command
    command = make(workdir, method__name=method, train__checkpoint_every=EVERY, train__start_limit=limit)
    return runs.start_all(command, processes) if processes > 1 else [runs.start(command)]


def whole(running: list) -> float:
    """A run that is left alone; the seconds it took."""
    began = time.monotonic()
    for done in runs.wait_all(running):
        assert done.returncode == 0, done.stderr
    return time.monotonic() - began


def place(workdir: Path) -> str:
    """What the run is at, from its files."""
    folder = workdir / "checkpoints"
    saving = [path.name.partition(".")[0] for path in folder.glob("*tmp*")] if folder.exists() else []
    path = workdir / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    if saving:
        return f"saving step {saving[0]}"
    steps = [int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit()] if folder.exists() else []
    if '"step": 18' in text:
        return "final evaluation" if 18 in steps else "last validation"
    return f"after checkpoint {max(steps)}" if steps else "first steps" if text else "start-up"


def kill(workdir: Path, running: list, seconds: float, rng: random.Random) -> str | None:
    """Kill one or all processes of a run after so many seconds; what happened, or None where it had ended before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and running[0].poll() is None:
        time.sleep(0.01)
    victims = running if len(running) == 1 or rng.random() < 0.3 else [rng.choice(running)]
    if any(process.poll() is not None for process in running):
        return None
    at = place(workdir)
    for process in victims:
        process.send_signal(signal.SIGKILL)
    began = time.monotonic()
    ended = runs.wait_all(running, seconds=120)
    numbers = ",".join(str(running.index(process)) for process in victims)
    rest = [done for process, done in zip(running, ended, strict=True) if process not in victims]
    survivor = f"; the other ended with {rest[0].returncode} in {time.monotonic() - began:.1f} s" if rest else ""
    past = (workdir / "results.json").exists()  # it needed the other no more
    assert all(done.returncode == 75 or (past and done.returncode == 0) for done in rest), rest[0].stderr
    return f"after {seconds:5.1f} s  process {numbers}  {at}{survivor}"


def campaign(arguments: argparse.Namespace, method: str, folder: Path) -> None:
    """One method, until its runs have been killed so many times and come to their end."""
    rng, count, ends = random.Random(f"{arguments.seed} {method}"), 0, 0
    begin = functools.partial(start, processes=arguments.processes, method=method, tiny=arguments.tiny)
    whole(begin(folder / "warm", limit=0.0))  # builds the dataset and compiles, however long that takes
    length = whole(begin(folder / "alone"))
    print(
        f"{method}, {arguments.processes} process(es), {os.cpu_count()} cores; alone, a run takes {length:.1f} s",
        flush=True,
    )
    while count < arguments.kills:
        workdir = folder / f"killed{ends}"
        while count < arguments.kills:
            report = kill(workdir, begin(workdir), rng.uniform(0, length), rng)
            if report is None:
                break
            count += 1
            print(f"kill {count:2}  {report}", flush=True)
        whole(begin(workdir))
        assert_same(workdir, folder / "alone")
        ends += 1
        print(f"run {ends} has ended: equal to the one left alone, bit for bit", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--kills", type=int, default=30, help="of each method")
    first_stage = [name for name, entry in METHODS.items() if not entry.second_stage]
    parser.add_argument("--methods", type=words.names([*first_stage, "all"]), default="ndlp", help="NAME,NAME, or all")
    parser.add_argument("--tiny", action="store_true", help="on a network of one layer, which compiles quickly")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for method in first_stage if arguments.methods == ["all"] else arguments.methods:
        with tempfile.TemporaryDirectory() as folder:
            campaign(arguments, method, Path(folder))


if __name__ == "__main__":
    main()
