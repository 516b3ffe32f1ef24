"""All methods on digits_mlt, tuned alike, under several kinds of labels; resumable, run by run.

python -m benchmarks.table --out=runs/table [--methods=bce,cls] [--labels="0.3;left=0.6"] [--seeds=0,1,2]
  [--budget=3] [--jobs=2]

Every method goes through one grid (GRID: optimiser with schedule and sampler, times learning rates) at each kind of
labels, on TUNING_SEED and a held-out fifth of the training images that is judged by its labels as training sees them;
where the best rate is the first or last of its recipe, the next one is tried too, up to BEYOND times. Test is not read
before the choice. Then the chosen settings on all training images, for every seed. A budget is 851
steps of 32 images, one pass or two as the method has them (23 shuffled epochs; --budget multiplies them). Each stage is
`ltpml sweep`, so that the same command continues after an interruption, and with more methods, labels or seeds adds
their runs. Prints the choices and `ltpml compare`'s table of what is finished, and says what is missing.
"""

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks import words
from ltpml_jax.methods.all_methods import METHODS

LABELS = ("0.3", "0.5", "left=0.6")  # LT-PML at two rates, 40 % of the positives missing
TUNING_SEED = 100
EPOCHS, TUNING_EPOCHS = 23, 28  # shuffled, of 37 and 30 steps
COMMON = {"data.sampler": "shuffle"}
SGD = {"optim.name": "sgd", "optim.schedule": "cosine", "optim.weight_decay": 1e-5}
ADAM = {"optim.name": "adam", "optim.schedule": "cosine", "optim.weight_decay": 1e-5}
CONSTANT = {"optim.name": "sgd", "optim.schedule": "constant", "optim.weight_decay": 1e-4}
# Recipe -> fields, learning rates. Losses that are summed need Adam: SGD's rates would have to be 640 times smaller.
GRID = {
    "sgd": (SGD, (0.03, 0.1, 0.3)),
    "adam": (ADAM, (3e-4, 1e-3, 3e-3)),
    "constant": (CONSTANT, (0.01, 0.03)),
}


STEPS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # of learning rates, beyond GRID too
BEYOND = 2


class TablePlan(NamedTuple):
    """Where runs go, the seeds of the final ones, budgets of 851 steps, and runs at a time."""

    out: Path
    seeds: str
    budget: int
    jobs: int


class Choice(NamedTuple):
    """A point of the grid and its mAP in percent on the held-out labels."""

    recipe: str
    rate: float
    score: float


def sweep(plan: TablePlan, folder: str, labels: str, method: str, fields: dict, rates: tuple[float, ...]) -> bool:
    """Run `ltpml sweep` in a folder below plan.out, with plan.seeds; whether all runs of it are finished."""
    out = plan.out / folder
    command = [sys.executable, "-m", "ltpml_jax", "sweep", f"--config=configs/digits_mlt.py:{labels},method={method}"]
    command += ["--grid", f"optim.learning_rate={','.join(map(str, rates))}", f"--seeds={plan.seeds}", f"--out={out}"]
    command += [f"--jobs={plan.jobs}", "--own_cores"]
    command += [f"--config.{name}={value}" for name, value in (COMMON | fields).items()]
    out.mkdir(parents=True, exist_ok=True)
    with (out / "sweep.log").open("w") as log:
        return subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode == 0


def tune(plan: TablePlan, labels: str, method: str) -> list[Choice]:
    """All points of the grid that could be trained, and of the steps beyond it, the best first."""
    found = {recipe: score(plan, labels, method, recipe, rates) for recipe, (_, rates) in GRID.items()}
    for _ in range(BEYOND):
        best = max(itertools.chain(*found.values()), key=lambda choice: choice.score, default=None)
        rate = beyond(best, {choice.rate for choice in found[best.recipe]}) if best else None
        if not best or not rate:
            break
        found[best.recipe] = score(plan, labels, method, best.recipe, (rate,))
    return sorted(itertools.chain(*found.values()), key=lambda choice: -choice.score)


def score(plan: TablePlan, labels: str, method: str, recipe: str, rates: tuple[float, ...]) -> list[Choice]:
    """Train a recipe at these rates; all points of it that could be trained, at other rates too."""
    folder, found = f"tune/{labels}/{method}/{recipe}", []
    held = {"data.validation": 0.2, "train.epochs": TUNING_EPOCHS * plan.budget}
    sweep(plan._replace(seeds=str(TUNING_SEED)), folder, labels, method, GRID[recipe][0] | held, rates)
    for path in (plan.out / folder).glob("*/metrics.jsonl"):
        if (path.parent / "results.json").exists():
            last = json.loads(path.read_text().splitlines()[-1])
            rate = json.loads((path.parent / "config.json").read_text())["optim"]["learning_rate"]
            found.append(Choice(recipe, rate, last["validation_mAP"]))
    return found


def beyond(best: Choice, tried: set[float]) -> float | None:
    """The rate next to the best one that was not tried, at most BEYOND steps from its recipe's grid; else None."""
    first, *_, last = map(STEPS.index, GRID[best.recipe][1])
    reach = STEPS[first - BEYOND : last + BEYOND + 1]
    place = reach.index(best.rate)
    return next((rate for rate in reach[max(place - 1, 0) : place + 2] if rate not in tried), None)


def run(plan: TablePlan, labels: str, method: str) -> tuple[str, list[Path]]:
    """Tune and train one method on one kind of labels; its line of the choices, and the runs that are finished."""
    choices = tune(plan, labels, method)
    if not choices:
        return f"| {method} | {labels} | no run of the grid was finished | |", []
    best, folder = choices[0], f"final/{labels}/{method}/{choices[0].recipe}"
    fields = GRID[best.recipe][0] | {"data.validation": 0.0, "train.epochs": EPOCHS * plan.budget}
    whole = sweep(plan, folder, labels, method, fields, (best.rate,))
    finished = sorted(path.parent for path in (plan.out / folder).glob(f"*={best.rate},*/results.json"))
    tried = ", ".join(f"{c.recipe} {c.rate:g}: {c.score:.1f}" for c in choices)
    chosen = f"{best.recipe} {best.rate:g}{'' if whole else ' (runs are missing)'}"
    return f"| {method} | {labels} | {chosen} | {tried} |", finished


def main() -> None:
    """Tune, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/table"), help="where the runs and the tables go")
    first_stage = [name for name, entry in METHODS.items() if not entry.second_stage]
    listed, named = ";".join(LABELS), "names, with commas between them"
    parser.add_argument("--methods", type=words.names(first_stage), default=first_stage, help=named)
    parser.add_argument("--labels", type=words.labels, default=listed, help="config arguments, with semicolons between")
    parser.add_argument("--seeds", type=words.seeds, default="0,1,2", help="of candidate sets and training")
    parser.add_argument("--budget", type=words.count, default=1, help="times 851 steps")
    parser.add_argument(
        "--jobs", type=words.count, default=1, help="runs at a time, each on its own share of the cores"
    )
    arguments = parser.parse_args()
    plan = TablePlan(arguments.out, ",".join(map(str, arguments.seeds)), arguments.budget, arguments.jobs)
    print("| method | labels | chosen | held-out mAP of the grid |\n|---|---|---|---|")
    finished: list[Path] = []
    for labels, method in itertools.product(arguments.labels, arguments.methods):
        line, runs = run(plan, labels, method)
        print(line, flush=True)
        finished += runs
    if not finished:
        sys.exit(f"error: No run was finished; {plan.out}/*/*/*/*/sweep.log says why.")
    within = "--within=data.noise,data.partial_rate,data.missing_rate"
    compare = [sys.executable, "-m", "ltpml_jax", "compare", *map(str, finished), "--by=method.name", within]
    subprocess.run([*compare, "--format=markdown"], check=True)


if __name__ == "__main__":
    main()
