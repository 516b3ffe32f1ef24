"""Kills small runs by SIGKILL at random moments until they have come to their end: `python -m benchmarks.kills`.

Every run is compared with one that was left alone: metrics.jsonl, results.json and all arrays of all checkpoints, bit
for bit. With `--processes=2`, one process or both are killed, and the survivor has to end by itself. Prints a line a
kill: when, whom, what the run was at, and how the survivor ended.
"""

import argparse
import os
import random
import signal
import tempfile
import time
from pathlib import Path

from tests.helpers import runs
from tests.test_resume import assert_same

EVERY = 3  # steps between checkpoints
LIMIT = 40.0  # seconds


def start(workdir: Path, processes: int, limit: float = LIMIT) -> list:
    """The processes of a run. `limit` to their start: one that is killed before it has joined is awaited until then."""
    command = runs.command(workdir, train__checkpoint_every=EVERY, train__start_limit=limit)
    return runs.start_all(command, processes) if processes > 1 else [runs.start(command)]


def whole(workdir: Path, processes: int, limit: float = LIMIT) -> float:
    """A run that is left alone; the seconds it took."""
    began = time.monotonic()
    for done in runs.wait_all(start(workdir, processes, limit)):
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
    assert all(done.returncode == 75 for done in rest), rest[0].stderr
    return f"after {seconds:5.1f} s  process {numbers}  {at}{survivor}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, folder, count, ends = random.Random(arguments.seed), Path(tempfile.mkdtemp()), 0, 0
    whole(folder / "warm", arguments.processes, limit=0.0)  # builds the dataset and compiles, however long that takes
    length = whole(folder / "alone", arguments.processes)
    print(f"{arguments.processes} process(es), {os.cpu_count()} cores; alone, a run takes {length:.1f} s", flush=True)
    while count < arguments.kills:
        workdir = folder / f"killed{ends}"
        while True:
            report = kill(workdir, start(workdir, arguments.processes), rng.uniform(0, length), rng)
            if report is None or count >= arguments.kills:
                break
            count += 1
            print(f"kill {count:2}  {report}", flush=True)
        whole(workdir, arguments.processes)
        assert_same(workdir, folder / "alone")
        ends += 1
        print(f"run {ends} has ended: equal to the one left alone, bit for bit", flush=True)


if __name__ == "__main__":
    main()
