"""Data on which NDLP might win: candidates that look alike in place of uniform flips, and few flips.

python -m benchmarks.other_data --out=runs/other_data [--seeds=0,1,2] [--methods=noise_model,bce,ndlp]

digits_mlt with other candidate sets. Alike: a class that is absent becomes a candidate, with some probability, where
the same digit in the other colours is there, and nowhere else. Few: LT-PML at rates as of COCO-MLT. Every method has
the settings that `benchmarks.table` chose for it at LT-PML 0.3 (SGD, cosine, shuffled, 851 steps); none was tuned
anew. Runs that are finished are not repeated. Prints test mAP.
"""

import argparse
from pathlib import Path

import numpy as np

import ltpml_jax
from benchmarks import words
from benchmarks.why_ndlp import line
from configs import digits_mlt
from ltpml_jax.data import datasets, manifest
from ltpml_jax.data.labels import GROUPS, LabelState
from ltpml_jax.data.streams import Purpose, uniform
from ltpml_jax.methods.settings import Config

RATES = {"noise_model": 0.3, "bce": 0.1, "ndlp": 0.03}  # of learning
ALIKE, FEW = (0.5, 0.8, 0.95), (0.05, 0.1)


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


def config_of(method: str, rate: float, seed: int, candidates: Path | None) -> Config:
    """The config of one run; candidates: a file in place of LT-PML at the rate."""
    config = digits_mlt.get_config(f"{0.3 if candidates else rate:g},method={method}")
    config.seed = config.data.candidate_seed = seed
    config.data.sampler, config.data.validation, config.train.epochs = "shuffle", 0.0, 23
    config.optim.update(name="sgd", schedule="cosine", weight_decay=1e-5, learning_rate=RATES[method])
    config.data.candidates = str(candidates or "")
    return config


def score(method: str, rate: float, seed: int, out: Path, look_alike: bool) -> list[float]:
    """Test mAP in percent, total and by group, of one run below `out`, trained where it is not there yet."""
    candidates = out / f"alike{rate:g}-{seed}.safetensors" if look_alike else None
    if candidates:
        dataset = datasets.load("digits_mlt", digits_mlt.get_config("0.3").data.dir)
        labels = np.asarray(dataset.train.labels)
        made = alike(labels, partners(dataset.class_names), rate, seed)
        origin = {"dataset": dataset.name, "source": manifest.digest(labels), "kind": "alike", "seed": seed}
        manifest.save(candidates, made, {**origin, "parameters": {"rate": rate}})
    workdir = out / f"{'alike' if look_alike else 'few'}{rate:g}" / f"{method}-seed{seed}"
    found = ltpml_jax.train(config_of(method, rate, seed, candidates), workdir)["last (epoch 23)"]
    return [found[f"mAP_{part}"] for part in ("total", *GROUPS)]


def main() -> None:
    """Train all, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/other_data"), help="where the runs go")
    parser.add_argument("--seeds", type=words.seeds, default="0,1,2", help="of candidate sets and training")
    named = "names, with commas between them"
    parser.add_argument("--methods", type=words.names(RATES), default=[*RATES], help=named)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    print("| candidates | method | Total | Head | Medium | Tail |\n|---|---|---|---|---|---|", flush=True)
    for look_alike, rate in [*((True, rate) for rate in ALIKE), *((False, rate) for rate in FEW)]:
        for method in arguments.methods:
            numbers = [score(method, rate, seed, arguments.out, look_alike) for seed in arguments.seeds]
            kind = f"look-alike {rate:g}" if look_alike else f"LT-PML {rate:g}"
            print(line(f"{kind} | {method}", numbers), flush=True)


if __name__ == "__main__":
    main()
