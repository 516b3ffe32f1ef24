"""Why NDLP loses to plain BCE on digits_mlt: one change at a time, over seeds. docs/why_ndlp.md has the readings.

python -m benchmarks.why_ndlp --out=runs/why [--seeds=0,1,2] [--picture=docs/why_ndlp.png]

Every change is a Method made of NDLP's own functions, trained by `ltpml_jax.train` as configs/digits_mlt.py:0.3 has it
(learning rate 0.03, all training images). Runs that are finished are not repeated. Prints two tables: test mAP, and
what became of the candidate labels; "called": the share of a group's candidates that the hard labels take for present.
The picture (of the first seed) needs matplotlib.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from sklearn.metrics import average_precision_score

import ltpml_jax
from benchmarks import words
from configs import digits_mlt
from ltpml_jax.data.labels import GROUPS
from ltpml_jax.evaluation.opened import OpenRun
from ltpml_jax.methods import losses, ndlp
from ltpml_jax.methods.base import Context, Forward, Method, Pass, Plan
from ltpml_jax.methods.settings import Config

RATE = 0.3  # partial rate, and the flip rate that the posterior is given


class Change(NamedTuple):
    """One change: plain BCE in place of DB-focal loss, the posterior in place of the softmax, soft labels as targets,
    the mixup pass, epochs, and where counts and lists come from."""

    plain: bool = False
    posterior: bool = False
    soft: bool = False
    mixup: bool = False
    epochs: int = 10
    priors: str = "estimated"


CHANGES = {
    "NDLP as it is": Change(mixup=True),
    "without the mixup pass": Change(),
    "without the mixup pass, true counts and lists": Change(priors="oracle"),
    "BCE in place of DB-focal loss": Change(plain=True),
    "posterior in place of the softmax": Change(posterior=True),
    "BCE and posterior": Change(plain=True, posterior=True),
    "BCE, posterior, soft labels": Change(plain=True, posterior=True, soft=True),
    "without the mixup pass, 30 epochs": Change(epochs=30),
}


def posterior(confidence: jax.Array, adjusted: jax.Array, candidates: jax.Array, rate: jax.Array | float) -> jax.Array:
    """NDLP's moving average of P(present | candidate, x) = p / (p + q (1 - p)) [B, C], which does not sum to 1."""
    present = jax.nn.sigmoid(adjusted)
    return (1 - rate) * confidence + rate * candidates * present / (present + RATE * (1 - present))


def changed(change: Change, plan: Plan) -> Method:
    """NDLP with the change."""
    settings, db = ndlp.NDLPSettings(mixup_pass=change.mixup), losses.DBSettings()
    parts = ndlp.NDLPParts()
    if change.posterior:  # a probability needs neither sharpening nor thresholds by class
        settings = settings._replace(class_aware_thresholds=False)
        parts = parts._replace(sharpen=lambda confidence, gamma: confidence, correct_labels=posterior)
    made = ndlp.ndlp(settings, db, plan, parts)
    return made if change.mixup else made._replace(passes=(Pass(_first(change, settings, db, parts)),))


def _first(change: Change, settings: ndlp.NDLPSettings, db: losses.DBSettings, parts: ndlp.NDLPParts) -> Callable:
    def first(forward: Forward, context: Context, carry: None):
        shared: ndlp.NDLPShared = context.shared
        logits, stats = forward(context.images, None, context.keys.dropout)
        sharp, hard = ndlp.pseudo_labels(shared, context.rows, settings, parts)
        target = sharp if change.soft else hard
        loss = losses.bce(logits, target) if change.plain else losses.db_focal(logits, target, shared.prior, db)
        adjusted = logits if change.plain else logits + losses.class_bias(shared.prior, db)[None]
        distribution = ndlp.epoch_distribution(shared, context.epoch)
        kept = ndlp.NDLPCarry(distribution, sharp, hard, adjusted, jnp.ones(len(logits), bool))
        return loss.mean(), (lax.stop_gradient(kept), stats)

    return first


def config_of(change: Change, seed: int) -> Config:
    """The config of one run."""
    config = digits_mlt.get_config(str(RATE))
    config.optim.learning_rate, config.train.epochs, config.data.validation = 0.03, change.epochs, 0.0
    config.seed = config.data.candidate_seed = seed
    config.data.priors = change.priors
    return config


class Seen(NamedTuple):
    """What became of one run: test mAP by group; candidates, truth, soft and hard labels of training images [N, C]."""

    scores: dict[str, float]
    candidates: np.ndarray
    truth: np.ndarray
    soft: np.ndarray
    hard: np.ndarray
    groups: dict[str, np.ndarray]


def run(change: Change, seed: int, workdir: Path) -> Seen:
    """Train or resume one run, and open it."""
    config = config_of(change, seed)
    method = changed(change, Plan(config.train.epochs, config.data.batch_size))
    scores = ltpml_jax.train(config, workdir, method=method)[f"last (epoch {change.epochs})"]
    opened: OpenRun = ltpml_jax.open_run(workdir, method=method)
    soft, hard = opened.beliefs()
    task = opened.run.task
    truth = np.asarray(task.dataset.train.labels)[task.train] == 1
    return Seen(dict(scores), task.served[:] > 0, truth, soft, hard, task.dataset.groups)


def belief_numbers(seen: Seen) -> list[float]:
    """In percent: AP of the soft labels over all candidates; precision, recall, called of hard labels by group."""
    at = seen.candidates
    found = [100 * average_precision_score(seen.truth[at], seen.soft[at])]
    for group in GROUPS:
        mask = at & seen.groups[group]
        hard, truth = seen.hard[mask] > 0, seen.truth[mask]
        hits = (hard & truth).sum()
        found += [100 * hits / max(hard.sum(), 1), 100 * hits / max(truth.sum(), 1), 100 * hard.mean()]
    return found


def frequencies_alone(seen: Seen) -> float:
    """AP in percent over the candidates of the class frequencies, estimated from the lists, without any image."""
    share = np.clip((seen.candidates.mean(0) - RATE) / (1 - RATE), 1 / len(seen.truth), 1)
    at = seen.candidates
    return 100 * average_precision_score(seen.truth[at], np.broadcast_to(share, at.shape)[at])


def line(name: str, numbers: list[list[float]]) -> str:
    """A row of a Markdown table: mean and standard deviation over seeds."""
    spread = np.std(numbers, axis=0, ddof=1) if len(numbers) > 1 else np.full(len(numbers[0]), np.nan)
    cells = [f"{mean:.1f} ± {error:.1f}" for mean, error in zip(np.mean(numbers, 0), spread, strict=True)]
    return f"| {name} | " + " | ".join(cells) + " |"


def picture(seen: dict[str, Seen], path: Path) -> None:
    """Candidates that are taken for present against those that are, by class; and how sure the soft labels are."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, one in seen.items():
        there, called = ((one.candidates & what).sum(0) / one.candidates.sum(0) for what in (one.truth, one.hard > 0))
        left.scatter(100 * there, 100 * called, s=18, label=name)
        sure = one.soft.max(1)[one.candidates.sum(1) > 1]
        right.hist(np.clip(sure, 0, 1), bins=np.linspace(0, 1, 41), histtype="step", label=name)
    left.plot([0, 100], [0, 100], color="gray", linewidth=1)
    left.set(xlabel="% of a class's candidates that are there", ylabel="% that the hard labels take for there")
    right.set(xlabel="largest soft label of an image", ylabel="images with two candidates or more")
    left.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Train all, print both tables, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/why"), help="where the runs go")
    parser.add_argument("--seeds", type=words.seeds, default="0,1,2", help="of candidate sets and training")
    parser.add_argument("--picture", type=Path, help="a PNG file to write")
    arguments = parser.parse_args()
    scores, beliefs, first, alone = [], [], {}, []
    for number, (name, change) in enumerate(CHANGES.items()):
        seen = [run(change, seed, arguments.out / f"change{number}" / f"seed{seed}") for seed in arguments.seeds]
        scores.append(line(name, [[one.scores[f"mAP_{part}"] for part in ("total", *GROUPS)] for one in seen]))
        beliefs.append(line(name, [belief_numbers(one) for one in seen]))
        first[name] = seen[0]
        alone = [[frequencies_alone(one)] for one in seen]
    print("| | Total | Head | Medium | Tail |\n|---|---|---|---|---|", *scores, sep="\n")
    columns = [f"{group} {what}" for group in GROUPS for what in ("precision", "recall", "called")]
    print(f"\n| | AP of soft labels | {' | '.join(columns)} |\n{'|---' * (len(columns) + 2)}|", *beliefs, sep="\n")
    print(line("class frequencies alone, without any image", alone))
    if arguments.picture:
        names = ("NDLP as it is", "BCE in place of DB-focal loss", "BCE, posterior, soft labels")
        picture({name: first[name] for name in names}, arguments.picture)


if __name__ == "__main__":
    main()
