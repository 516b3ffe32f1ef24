"""Train every combination of some settings: `ltpml sweep --config=FILE --grid FIELD=A,B --seeds=0,1,2 --out=DIR`.

Each combination is a run in a folder of its own below DIR, named after its values, and a process of its own of
`ltpml train`, so that none can hurt another. The same command again leaves finished runs alone, resumes those that were
stopped, and tries those again that failed. DIR/sweep.json lists all runs that DIR has had.
"""

import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from absl import flags

from ltpml_jax.cli import Command
from ltpml_jax.commands import sweep_plan
from ltpml_jax.commands.sweep_plan import SweepRun
from ltpml_jax.errors import UserError

FILE = "sweep.json"
FORMAT = 1
OUTPUT = "output.log"  # of a run's process, in its folder
NOTE = (
    f"In --grid, {sweep_plan.RULE}: --grid 'ndlp.alpha=(0.1,0.9),(0.4,0.8)', --grid "
    "'optim.multipliers=backbone=0.1;backbone=0.1,neck=2'. The field `config` stands for what is after the colon of "
    "--config: --grid 'config=0.3,method=bce;0.5,method=bce'. Every process uses all cores and devices, unless "
    "--own_cores or what starts the sweep (taskset, CUDA_VISIBLE_DEVICES) gives it fewer. Ctrl-C and SIGTERM let the "
    "runs save and end. Any field of the config is set for all runs by --config.FIELD=VALUE."
)


def define(values: flags.FlagValues) -> None:
    """The command's flags."""
    flags.DEFINE_string("config", "", "Config file, after a colon its argument: FILE.py[:ARGUMENT].", values)
    grid = "A config field and its values, FIELD=VALUE,VALUE,...; may be given several times, all combinations are run."
    flags.DEFINE_multi_string("grid", [], grid, flag_values=values)
    seeds = "Seeds, with commas: each run once with each, as `seed` and as `data.candidate_seed` together."
    flags.DEFINE_string("seeds", "", seeds, values)
    flags.DEFINE_string("out", "", "Directory of the sweep; the same command again resumes it.", values)
    flags.DEFINE_integer("jobs", 1, "Runs at a time.", lower_bound=1, flag_values=values)
    flags.DEFINE_bool("own_cores", False, "Share the cores out among the --jobs runs.", flag_values=values)
    listed = "Print the commands of the runs that are not finished, one a line, and run nothing."
    flags.DEFINE_bool("print", False, listed, flag_values=values)


def problems(values: Any) -> list[str]:
    """A sentence for flags that make no sweep."""
    return [] if values.grid or values.seeds else ["Give --grid or --seeds, or both; for a single run, `ltpml train`."]


def run(values: Any) -> None:
    """Run what is not finished, write sweep.json and print what came out.

    Raises UserError before any run; exits with 1 where a run failed, with 128 + N where signal N stopped the sweep.
    """
    out = Path(values.out)
    runs = sweep_plan.plan(values, out)
    left = [one for one in runs if not finished(out / one.name)]
    if values.print:
        for one in left:
            print(shlex.join(["python", "-m", "ltpml_jax.main", *one.words]))
        return
    from filelock import Timeout

    from ltpml_jax.runtime.files import LOCK, lock

    try:
        out.mkdir(parents=True, exist_ok=True)
        with lock(out / LOCK, wait=False):
            failed, came = _run_all(runs, left, out, values)
    except Timeout:
        raise UserError(f"Another sweep is at work in {out}; wait for its end, or give another --out.") from None
    except OSError as error:
        raise UserError(f"The sweep cannot write to {out} ({error.strerror}); give another --out.") from None
    _report(runs, out, failed, came)
    if came or failed:
        sys.exit(128 + came if came else 1)


def finished(workdir: Path) -> bool:
    """Whether a run has come to its end: it has written its results, and the outputs that `compare` reads."""
    return all((workdir / name).exists() for name in ("results.json", "predictions-test.npz"))


def _run_all(runs: list[SweepRun], left: list[SweepRun], out: Path, values: Any) -> tuple[dict[str, str], int]:
    """Why each run that failed did, by name, and the signal that came, or 0."""
    from ltpml_jax.runtime import children

    failed: dict[str, str] = {}
    count = len(runs) - len(left)
    print(f"{len(runs)} runs in {out}, of which {count} are finished", flush=True)

    def ended(end: children.Ended) -> None:
        nonlocal count
        count += 1
        name, what = left[end.number].name, "finished"
        if end.asked and end.status:
            what = "stopped; it is saved as far as it came"
        elif end.status or not finished(out / name):
            failed[name] = f"exit status {end.status}: {end.line or 'it wrote nothing'}"
            what = f"FAILED, {failed[name]}"
        print(f"[{count}/{len(runs)}] {name}: {what} ({end.seconds:.0f} s)", flush=True)
        _record(runs, out, failed)

    _record(runs, out, failed)
    commands = [[sys.executable, "-m", "ltpml_jax.main", *one.words] for one in left]
    tasks = [children.Child(words, out / one.name / OUTPUT) for words, one in zip(commands, left, strict=True)]
    came = children.run(tasks, values.jobs, ended, _environment(out), values.own_cores)
    return failed, came


def _environment(out: Path) -> dict[str, str]:
    """This process's, and a folder where runs of one network find each other's compiled programs, if it names none."""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str((out / "compiled").resolve()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    return cache | os.environ


def _record(runs: list[SweepRun], out: Path, failed: dict[str, str]) -> None:
    """Write sweep.json: these runs, and those of earlier sweeps in the folder."""
    from ltpml_jax.runtime.files import write_atomic

    found = {one["name"]: one for one in earlier(out)}
    for one in runs:
        state = "finished" if finished(out / one.name) else "failed" if one.name in failed else "unfinished"
        entry = {"name": one.name, "fields": one.fields, "state": state, "words": one.words}
        found[one.name] = entry | ({"why": failed[one.name]} if one.name in failed else {})
    write_atomic(out / FILE, json.dumps({"format": FORMAT, "runs": list(found.values())}, indent=2) + "\n")


def earlier(out: Path) -> list[dict[str, Any]]:
    """The runs that DIR/sweep.json lists; none where there is no such file. UserError where it is not one."""
    try:
        record = json.loads((out / FILE).read_text(encoding="utf-8"))
        if record["format"] != FORMAT or not all(isinstance(one["name"], str) for one in record["runs"]):
            raise ValueError
        return record["runs"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{out / FILE} is no list of a sweep's runs; remove it, or give another --out.") from None


def _report(runs: list[SweepRun], out: Path, failed: dict[str, str], came: int) -> None:
    """Print what came of the sweep."""
    done = [out / one.name for one in runs if finished(out / one.name)]
    print(f"{len(done)} of {len(runs)} runs are finished; {out / FILE} lists all.")
    for name, why in failed.items():
        print(f"FAILED: {name}, {why} (all of it: {out / name / OUTPUT})")
    if came:
        print(f"{signal.Signals(came).name} stopped the sweep; the same command resumes it.")
    elif done:
        _print_table(done)


def _print_table(workdirs: list[Path]) -> None:
    from ltpml_jax.evaluation import comparison, comparison_report

    try:
        print(f"\n{comparison_report.text({'': comparison.compare(workdirs)})}\n")
    except UserError as error:  # of runs on several datasets, for one
        print(f"There is no table of all: {error}")


COMMAND = Command("Train every combination of some settings and seeds.", define, ("config", "out"), run, problems, NOTE)
