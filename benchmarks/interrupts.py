"""Ends commands that write by SIGINT, SIGTERM or SIGKILL at random moments, until they have come to their end.

python -m benchmarks.interrupts [--commands=train,prepare,corrupt,predict,audit,export,sweep] [--signals=20] [--seed=0]

Every result is compared with that of the same command left alone: byte by byte, runs by their records, results and all
arrays of all checkpoints. Prints a line a signal: command, signal, moment, and how the command ended.
"""

import argparse
import functools
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks import words
from tests.helpers import runs, trees
from tests.helpers.same_runs import assert_same

ENDS = {signal.SIGINT: (130, -2), signal.SIGTERM: (143, -15), signal.SIGKILL: (-9,)}  # exit statuses
REAL = {"train__checkpoint_every": 3, "train__epochs": 1, "method__name": "noise_model"}
FIELDS = REAL | {"model__pretrained": ""}  # of the network of tests/helpers/tiny.py


class Given(NamedTuple):
    """What commands read: photographs, a table of them, a dataset, and a finished run."""

    photographs: Path
    table: Path
    data: Path
    workdir: Path


def give(folder: Path) -> Given:
    """Make all of it."""
    names = [f"{number:03}.jpg" for number in range(300)]
    trees.plant(folder / "photographs", names, sizes=((500, 375), (375, 500)))
    rows = [f"{name},{'cat' if number % 3 else 'dog'}" for number, name in enumerate(names)]
    (folder / "labels.csv").write_text("\n".join(["path,labels", *rows]) + "\n")
    done = runs.call(runs.command(folder / "run", **REAL))
    assert done.returncode == 0, done.stderr
    return Given(folder / "photographs", folder / "labels.csv", runs.data_dir(), folder / "run")


def train(given: Given, out: Path) -> list[str]:
    return runs.tiny_command(out / "run", **FIELDS)


def prepare(given: Given, out: Path) -> list[str]:
    words = [
        f"--csv={given.table}",
        f"--images={given.photographs}",
        f"--out={out}",
        "--test_share=0.2",
        "--unlisted=negative",
    ]
    return [*runs.python("prepare"), "--dataset=mine", *words]


def corrupt(given: Given, out: Path) -> list[str]:
    words = ["--dataset=digits_mlt", f"--data_dir={given.data}", "--kind=partial", "--rate=0.3"]
    return [*runs.python("corrupt"), *words, f"--out={out}/candidates.safetensors"]


def predict(given: Given, out: Path) -> list[str]:
    table = out / "predicted.csv"
    resume = ["--resume"] if table.exists() else []
    return [*runs.python("predict"), f"--workdir={given.workdir}", str(given.photographs), f"--out={table}", *resume]


def audit(given: Given, out: Path) -> list[str]:
    return [*runs.python("audit"), f"--workdir={given.workdir}", f"--out={out}/audit"]


def export(given: Given, out: Path) -> list[str]:
    if (out / "model").exists():  # whole or not at all; what is there is never replaced
        return ["true"]
    return [*runs.python("export"), f"--workdir={given.workdir}", f"--out={out}/model", "--formats=stablehlo"]


def sweep(given: Given, out: Path) -> list[str]:
    _, _, _, config, _, *fields = runs.command(out, **REAL)
    grid = ["--grid", "optim.learning_rate=0.01,0.03", "--seeds=0"]
    return [*runs.python("sweep"), config, *grid, f"--out={out}/sweep", *fields]


COMMANDS: dict[str, Callable[[Given, Path], list[str]]] = {
    "train": train,
    "prepare": prepare,
    "corrupt": corrupt,
    "predict": predict,
    "audit": audit,
    "export": export,
    "sweep": sweep,
}


def same(mine: Path, theirs: Path) -> None:
    """Raise AssertionError where two results differ."""
    workdirs = [path.parent.relative_to(theirs) for path in theirs.rglob("metrics.jsonl")]
    for workdir in workdirs:
        assert_same(mine / workdir, theirs / workdir)
    trees_of = []
    for root in (mine, theirs):
        files = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
        found = {path.relative_to(root): path for path in files}
        trees_of.append({name: path for name, path in found.items() if not any(w in name.parents for w in workdirs)})
    assert trees_of[0].keys() == trees_of[1].keys(), trees_of[0].keys() ^ trees_of[1].keys()
    for name, path in trees_of[0].items():
        assert name.suffix == ".log" or path.read_bytes() == trees_of[1][name].read_bytes(), name


def interrupted(command: Callable[[], list[str]], seconds: float, number: signal.Signals) -> str | None:
    """How a command ends that gets a signal after so many seconds, or None where it has ended before."""
    process = runs.start(command())
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    if process.poll() is not None:
        assert process.returncode == 0, process.communicate()
        process.communicate()
        return None
    process.send_signal(number)
    (done,) = runs.wait_all([process], seconds=120)
    assert done.returncode in (*ENDS[number], 0), done
    assert "Traceback" not in done.stderr, done.stderr
    return f"{number.name:8} after {seconds:5.1f} s: {done.returncode} {(done.stderr.splitlines() or [''])[-1][:60]!r}"


def campaign(name: str, given: Given, folder: Path, signals: int, rng: random.Random) -> None:
    """One command, until it has got so many signals; it always runs in the same folder, as outputs may name it."""
    out, alone = folder / name, folder / f"{name}.alone"
    command = functools.partial(COMMANDS[name], given, out)
    for _ in range(2):  # the second one finds compiled programs
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        began = time.monotonic()
        done = runs.call(command())
        length = time.monotonic() - began
        assert done.returncode == 0, done.stderr
    shutil.move(out, alone)
    count = ends = 0
    while count < signals:
        out.mkdir()
        while count < signals:
            report = interrupted(command, rng.uniform(0, length), rng.choice(list(ENDS)))
            if report is None:
                break
            count += 1
            print(f"{name:8} {count:2}  {report}", flush=True)
        done = runs.call(command())
        assert done.returncode == 0, done.stderr
        same(out, alone)
        shutil.rmtree(out)
        ends += 1
    print(f"{name}: {count} signals, {ends} ends, all equal to the one left alone ({length:.1f} s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=words.names(COMMANDS), default=[*COMMANDS])
    parser.add_argument("--signals", type=int, default=20, help="to each command")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        given = give(Path(folder))
        for name in arguments.commands:
            campaign(name, given, Path(folder), arguments.signals, random.Random(arguments.seed))


if __name__ == "__main__":
    main()
