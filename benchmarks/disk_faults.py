"""Small runs on a file system that fails and delays writes at random: `python -m benchmarks.disk_faults`.

A library that is preloaded (disk_faults.c, compiled by `cc`; Linux) lets writes, syncs, renames and new folders below
the work directory fail, with "No space left on device" or "Input/output error". A run that fails has to say so in one
sentence; the same command on a sound disk has to end as a run that was left alone: metrics.jsonl, results.json and all
arrays of all checkpoints, bit for bit. Prints a line a run.
"""

import argparse
import errno
import os
import random
import subprocess
import tempfile
from pathlib import Path

from benchmarks.kills import EVERY, place
from tests.helpers import runs
from tests.helpers.same_runs import assert_same

RATES = (0.002, 0.01, 0.05)
ERRORS = (errno.ENOSPC, errno.EIO)
DELAY = 300  # microseconds of each writing call


def faults(workdir: Path, library: Path, rng: random.Random) -> dict[str, str]:
    """The variables that preload the library, with faults below a work directory."""
    return {
        "LD_PRELOAD": str(library),
        "FAULTS_UNDER": str(workdir),
        "FAULTS_RATE": str(rng.choice(RATES)),
        "FAULTS_ERRNO": str(rng.choice(ERRORS)),
        "FAULTS_SEED": str(rng.randrange(1000)),
        "FAULTS_DELAY": str(DELAY),
    }


def run(workdir: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A run to its end."""
    return runs.wait_all([runs.start(runs.command(workdir, train__checkpoint_every=EVERY), **variables)])[0]


def main() -> None:
    """Run with faults and without them until all runs have ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, folder = random.Random(arguments.seed), Path(tempfile.mkdtemp()).resolve()
    source = Path(__file__).with_suffix(".c")
    library = folder / "faults.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    alone = run(folder / "alone")
    assert alone.returncode == 0, alone.stderr
    for number in range(arguments.runs):
        workdir = folder / f"run{number}"
        variables = faults(workdir, library, rng)
        done = run(workdir, **variables)
        sentences = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        print(
            f"run {number}: rate {variables['FAULTS_RATE']}, {os.strerror(int(variables['FAULTS_ERRNO']))}: status "
            f"{done.returncode}, {place(workdir)}: {' / '.join(sentences)}",
            flush=True,
        )
        if len(sentences) != bool(done.returncode) or "Traceback" in done.stderr:
            print(done.stderr, flush=True)
            raise SystemExit(1)
        sound = run(workdir)
        assert sound.returncode == 0, sound.stderr
        assert_same(workdir, folder / "alone")
    print(f"{arguments.runs} runs have ended: equal to the one left alone, bit for bit")


if __name__ == "__main__":
    main()
