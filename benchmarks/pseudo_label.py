"""Pseudo-Label with 40 % of the positives missing: BCE, and BCE again on the labels that the first network adds.

python -m benchmarks.pseudo_label --out=runs/pseudo_label [--seeds=0,1,2,3,4] [--tau=0.7]

On digits_mlt, both trainings with what `benchmarks.table` chose for BCE there (SGD 0.3, cosine, 23 shuffled epochs,
851 steps each), the second from the pretrained weights again. As `ltpml predict --pseudo_labels`: what is not observed
becomes positive where its score is above tau. Runs that are finished are not repeated. Prints test mAP of both, and
how many labels were added and how many of these are true.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit

import ltpml_jax
from benchmarks import table_run, words
from benchmarks.why_ndlp import line
from ltpml_jax.data import augment, datasets, manifest, task
from ltpml_jax.data.labels import LabelState
from ltpml_jax.inference import pseudo_labels
from ltpml_jax.methods.settings import Config

RATE = 0.3  # of learning


def config_of(seed: int) -> Config:
    """The config of the first training."""
    return table_run.config_of("left=0.6,method=bce", RATE, seed)


class Added(NamedTuple):
    """Labels added an image, and the percent of these that are true."""

    count: float
    true: float


def fill(config: Config, first: Path, tau: float, path: Path) -> Added:
    """Write the second training's candidate sets: what the first run adds is a candidate, as the truth may differ."""
    dataset = datasets.load(config.data.name, config.data.dir)
    truth = np.asarray(dataset.train.labels)
    observed = task.candidate_sets(config, dataset)[np.arange(len(truth))]
    images = (augment.decode(dataset.train.records[row]["image"]) for row in range(len(truth)))
    scores = expit(ltpml_jax.open_run(first).predict(images))
    added = pseudo_labels.fill(observed, scores, tau) != observed
    states = np.where(added, LabelState.CANDIDATE, observed).astype(np.int8)
    origin = {"dataset": dataset.name, "source": manifest.digest(truth), "kind": "pseudo", "seed": config.seed}
    manifest.save(path, states, origin | {"parameters": {"tau": tau}})
    return Added(added.sum() / len(truth), 100 * truth[added].mean())


def main() -> None:
    """Train both, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/pseudo_label"), help="where the runs go")
    parser.add_argument("--seeds", type=words.seeds, default="0,1,2,3,4", help="of missing labels and training")
    parser.add_argument("--tau", type=float, default=0.7, help="scores above it add a label")
    arguments = parser.parse_args()
    if not 0 <= arguments.tau < 1:
        parser.error(f"--tau={arguments.tau:g} is no score; give a number from 0 to below 1")
    arguments.out.mkdir(parents=True, exist_ok=True)
    once, twice, filled = [], [], []
    for seed in arguments.seeds:
        config, first = config_of(seed), arguments.out / f"first-seed{seed}"
        once.append(table_run.scored(config, first))
        again = arguments.out / f"tau{arguments.tau:g}-seed{seed}"
        config.data.update(candidates=f"{again}.safetensors", noise="partial", missing_rate=0.0)
        filled.append(fill(config_of(seed), first, arguments.tau, Path(config.data.candidates)))
        twice.append(table_run.scored(config, again))
    print("| 40 % missing | Total | Head | Medium | Tail |\n|---|---|---|---|---|")
    print(line("BCE", once))
    print(line(f"Pseudo-Label, tau {arguments.tau:g}", twice))
    count, true = np.mean(filled, axis=0)
    print(f"Added {count:.2f} labels an image, of which {true:.0f} % are true.")


if __name__ == "__main__":
    main()
