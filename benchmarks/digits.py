"""The embedded benchmark: NDLP and baselines on digits_mlt, tuned alike; a table with means and deviations.

python -m benchmarks.digits --out=runs/benchmark

Every method gets the same budget: the epochs of the config, and the learning rates of RATES tried once each, at
partial rate 0.3 on a validation split of the training images that is judged by its CANDIDATE labels; the test split
is not read before the rate is chosen. Then three seeds (of candidate sets and of training) at either partial rate.
Runs that are finished are not repeated, so that the command continues after an interruption.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

import numpy as np

RATES = (0.01, 0.03, 0.1)
PARTIAL = (0.3, 0.5)
SEEDS = (0, 1, 2)
TUNING_SEED = 100
TUNING_SPLIT = 0.2
GROUPS = ("mAP_total", "mAP_head", "mAP_medium", "mAP_tail")

BASE, CEILING = "NDLP, estimated priors", "BCE on clean labels (ceiling)"
METHODS: dict[str, dict] = {
    BASE: {"method.name": "ndlp", "data.priors": "estimated"},
    "NDLP, oracle priors": {"method.name": "ndlp", "data.priors": "oracle"},
    "BCE on candidates": {"method.name": "bce", "data.priors": "estimated"},
    "DB-focal on candidates": {"method.name": "db_focal", "data.priors": "estimated"},
    CEILING: {"method.name": "bce", "data.priors": "oracle", "data.labels": "clean"},
}
SWITCHES = ("label_correction", "class_aware_thresholds", "distribution_finetuning", "mixup_pass")


Line = tuple[str, dict, tuple[float, ...]]


class Job(NamedTuple):
    """One run: its folder below --out, its partial rate and its overrides."""

    name: str
    partial: float
    overrides: dict


def run_all(jobs: list[Job], out: Path, at_a_time: int) -> None:
    """Run what is not finished yet; a failing run stops the benchmark with its log."""
    cores = np.array_split(sorted(os.sched_getaffinity(0)), at_a_time)
    shares: Queue = Queue()
    for share in cores:
        shares.put(set(share.tolist()))

    def one(job: Job) -> None:
        share = shares.get()
        try:
            run_one(job, out, share)
        finally:
            shares.put(share)

    with ThreadPoolExecutor(at_a_time) as pool:
        list(pool.map(one, jobs))


def run_one(job: Job, out: Path, cores: set[int]) -> None:
    """One training process, pinned to its cores."""
    workdir = out / job.name
    if (workdir / "results.json").exists():
        return
    command = [sys.executable, "-m", "ltpml_jax.main", f"--config=configs/digits_mlt.py:{job.partial}"]
    command += [f"--workdir={workdir}", *[f"--config.{key}={value}" for key, value in job.overrides.items()]]
    cache = str((out / "compiled").resolve())  # runs of one method compile the same programs
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
        env=environment,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    print(f"{job.name}: mAP {result(out, job.name)['mAP_total']:.2f}", flush=True)


def result(out: Path, name: str) -> dict:
    """Test scores of a run's last checkpoint."""
    scores = json.loads((out / name / "results.json").read_text())["test"]
    return next(value for key, value in scores.items() if key.startswith("last"))


def slug(method: str) -> str:
    """A folder name."""
    return "".join(letter if letter.isalnum() else "_" for letter in method.lower())


def tuning_jobs(method: str, fields: dict) -> list[Job]:
    """The learning rates of one method on the validation split."""
    common = {"seed": TUNING_SEED, "data.candidate_seed": TUNING_SEED, "data.validation": TUNING_SPLIT}
    return [
        Job(f"tune/{slug(method)}/{rate}", PARTIAL[0], fields | common | {"optim.learning_rate": rate})
        for rate in RATES
    ]


def validation(out: Path, job: Job) -> float:
    """mAP on the held-out candidates after the last epoch."""
    lines = (out / job.name / "metrics.jsonl").read_text().splitlines()
    return json.loads(lines[-1])["validation_mAP"]


def final_jobs(method: str, fields: dict, partials: tuple[float, ...], rate: float) -> list[Job]:
    """All seeds of a method on all training images."""
    return [
        Job(
            f"final/{slug(method)}/{partial}/{seed}",
            partial,
            fields | {"seed": seed, "data.candidate_seed": seed, "data.validation": 0.0, "optim.learning_rate": rate},
        )
        for partial in partials
        for seed in SEEDS
    ]


def row(out: Path, method: str, partial: float) -> str:
    """Mean and standard deviation over seeds, as a line of a Markdown table."""
    values = np.array([
        [result(out, f"final/{slug(method)}/{partial}/{seed}")[group] for group in GROUPS] for seed in SEEDS
    ])  # fmt: skip
    cells = [f"{mean:.1f} ± {std:.1f}" for mean, std in zip(values.mean(0), values.std(0, ddof=1), strict=True)]
    return f"| {method} | {partial} | " + " | ".join(cells) + " |"


def lines() -> dict[str, Line]:
    """The lines of the table by their names: the method whose learning rate it takes, fields, partial rates."""
    found: dict[str, Line] = {method: (method, fields, PARTIAL) for method, fields in METHODS.items()}
    found[CEILING] = (CEILING, METHODS[CEILING], PARTIAL[:1])
    for switch in SWITCHES:
        found[f"{BASE}, {switch} off"] = (BASE, METHODS[BASE] | {f"ndlp.{switch}": False}, PARTIAL[:1])
    return found


def tune(out: Path, at_a_time: int) -> dict[str, float]:
    """The best learning rate of each method."""
    jobs = {method: tuning_jobs(method, fields) for method, fields in METHODS.items()}
    run_all([job for some in jobs.values() for job in some], out, at_a_time)
    best = {}
    for method, some in jobs.items():
        tried = {rate: validation(out, job) for rate, job in zip(RATES, some, strict=True)}
        best[method] = max(tried, key=lambda rate: tried[rate])
        shown = ", ".join(f"{rate}: {score:.2f}" for rate, score in tried.items())
        print(f"{method}: learning rate {best[method]} (candidate mAP on validation {shown})", flush=True)
    return best


def main() -> None:
    """Tune, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"), help="where the runs and the results go")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on its own share of the cores")
    arguments = parser.parse_args()
    best, jobs = tune(arguments.out, arguments.jobs), []
    for name, (tuned, fields, partials) in lines().items():
        jobs += final_jobs(name, fields, partials, best[tuned])
    run_all(jobs, arguments.out, arguments.jobs)
    print("| method | partial rate | Total | Head | Medium | Tail |\n|---|---|---|---|---|---|")
    for name, (_, _, partials) in lines().items():
        for partial in partials:
            print(row(arguments.out, name, partial))


if __name__ == "__main__":
    main()
