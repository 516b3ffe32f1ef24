"""Data on which NDLP might win: candidates that look alike in place of uniform flips, few flips, and more classes.

python -m benchmarks.other_data --out=runs/other_data [--seeds=0,1,2] [--methods=noise_model,bce,ndlp]
  [--data=alike,few,more]

digits_mlt with other candidate sets. Alike: a class that is absent becomes a candidate, with some probability, where
the same digit in the other colours is there, and nowhere else. Few: LT-PML at rates as of COCO-MLT. More: LT-PML on the
40 classes of `benchmarks.more_classes`. Every method has the settings that `benchmarks.table` chose for it at LT-PML
0.3 (SGD, cosine, 23 shuffled epochs); none was tuned anew. Runs that are finished are not repeated. Prints test mAP.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import more_classes, table_run, words
from benchmarks.why_ndlp import line
from ltpml_jax.data import datasets, manifest
from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.streams import Purpose, uniform
from ltpml_jax.methods.settings import Config

RATES = {"noise_model": 0.3, "bce": 0.1, "ndlp": 0.03}  # of learning


class Data(NamedTuple):
    """Candidate sets by what makes them, "alike", "few" or "more", and their rate."""

    kind: str
    rate: float


DATA = (
    *(Data("alike", rate) for rate in (0.5, 0.8, 0.95)),
    *(Data("few", rate) for rate in (0.05, 0.1)),
    *(Data("more", rate) for rate in (0.05, 0.3)),
)
TITLES = {"alike": "look-alike {:g}", "few": "LT-PML {:g}", "more": "40 classes, LT-PML {:g}"}


def partners(class_names: tuple[str, ...]) -> np.ndarray:
    """For each class of digits_mlt, int64 [C], the one with the same digit in the other colours."""
    other = {"warm": "cool", "cool": "warm"}
    numbers = {name: number for number, name in enumerate(class_names)}
    return np.array(
        [numbers[f"{digit}_{other[colour]}"] for digit, _, colour in (n.partition("_") for n in class_names)]
    )


def alike(labels: np.ndarray, partner: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Candidate sets int8 [N, C] of clean labels int8 [N, C]: positives, and partners of positives with the rate."""
    flipped = (labels[:, partner] != 0) & (uniform(labels.shape, seed, Purpose.CANDIDATES) < rate)
    return np.where((labels != 0) | flipped, LabelState.CANDIDATE, LabelState.NEGATIVE).astype(np.int8)


def config_of(method: str, data: Data, seed: int) -> Config:
    """The config of one run on digits_mlt."""
    rate = 0.3 if data.kind == "alike" else data.rate
    return table_run.config_of(f"{rate:g},method={method}", RATES[method], seed)


def prepared(config: Config, data: Data, out: Path) -> Config:
    """The config on its data, which is made below `out`."""
    if data.kind == "more":
        config.data.name, config.data.dir = more_classes.NAME, more_classes.build(out / "data")
    if data.kind == "alike":
        candidates = out / f"alike{data.rate:g}-{config.seed}.safetensors"
        config.data.candidates = str(candidates)
        dataset = datasets.load("digits_mlt", config.data.dir)
        labels = np.asarray(dataset.train.labels)
        made = alike(labels, partners(dataset.class_names), data.rate, config.seed)
        origin = {"dataset": dataset.name, "source": manifest.digest(labels), "kind": "alike", "seed": config.seed}
        manifest.save(candidates, made, {**origin, "parameters": {"rate": data.rate}})
    return config


def score(method: str, data: Data, seed: int, out: Path) -> list[float]:
    """Test mAP in percent, total and by group, of one run below `out`, trained where it is not there yet."""
    config = prepared(config_of(method, data, seed), data, out)
    return table_run.scored(config, out / f"{data.kind}{data.rate:g}" / f"{method}-seed{seed}")


def main() -> None:
    """Train all, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/other_data"), help="where the runs go")
    parser.add_argument("--seeds", type=words.seeds, default="0,1,2", help="of candidate sets and training")
    named = "names, with commas between them"
    parser.add_argument("--methods", type=words.names(RATES), default=[*RATES], help=named)
    parser.add_argument("--data", type=words.names(TITLES), default=[*TITLES], help=named)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    print("| candidates | method | Total | Head | Medium | Tail |\n|---|---|---|---|---|---|", flush=True)
    for data in (data for data in DATA if data.kind in arguments.data):
        for method in arguments.methods:
            numbers = [score(method, data, seed, arguments.out) for seed in arguments.seeds]
            print(line(f"{TITLES[data.kind].format(data.rate)} | {method}", numbers), flush=True)


if __name__ == "__main__":
    main()
