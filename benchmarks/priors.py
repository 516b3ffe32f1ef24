"""Error of estimated class counts on digits_mlt: `python -m benchmarks.priors [--data_dir DIR]`.

For both partial rates, over candidate seeds: the relative error |estimate - truth| / truth by class group, and the
bias and spread of the estimated flip rate. `known rate` inverts with the true rate; `candidates` takes a class's
candidate count for its count, as without any estimate.
"""

import argparse
from collections.abc import Callable

import numpy as np

from ltpml_jax.data import datasets
from ltpml_jax.data.candidates import draw_candidates
from ltpml_jax.data.labels import LabelState, class_groups
from ltpml_jax.methods import priors

RATES, SEEDS = (0.3, 0.5), range(10)
Estimator = Callable[[np.ndarray, float], np.ndarray]


def candidate_sets(labels: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Bool [N, C]: which classes may be present."""
    return draw_candidates(labels, np.arange(len(labels)), rate, seed) != LabelState.NEGATIVE


def sums(table: np.ndarray) -> tuple[np.ndarray, int]:
    return table.sum(0, dtype=np.int64), len(table)


ESTIMATORS: dict[str, Estimator] = {
    "estimated": lambda table, rate: np.asarray(priors.estimated_prior(*sums(table)).class_count),
    "known rate": lambda table, rate: np.maximum(priors.unbiased_counts(*sums(table), rate), 1),
    "candidates": lambda table, rate: table.sum(0, dtype=np.int64),
}


def relative_error(labels: np.ndarray, rate: float, estimator: Estimator) -> np.ndarray:
    """|estimate - truth| / truth, [seeds, C]."""
    truth = labels.sum(0, dtype=np.int64)
    estimates = [estimator(candidate_sets(labels, rate, seed), rate) for seed in SEEDS]
    return np.abs(np.stack(estimates) - truth) / truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", default="~/tensorflow_datasets")
    labels = datasets.load("digits_mlt", parser.parse_args().data_dir).train.labels
    groups = class_groups(labels.sum(0, dtype=np.int64))
    sizes = ", ".join(f"{mask.sum()} {name}" for name, mask in groups.items())
    print(f"{len(labels)} images; classes: {sizes}; mean over {len(SEEDS)} candidate seeds")
    print(f"{'rate':>4} {'counts from':>12}" + "".join(f"{name:>9}" for name in groups))
    for rate in RATES:
        for name, estimator in ESTIMATORS.items():
            error = relative_error(labels, rate, estimator)
            print(f"{rate:>4} {name:>12}" + "".join(f"{error[:, mask].mean():>9.3f}" for mask in groups.values()))
    for rate in RATES:
        found = np.array([priors.estimate_flip_rate(*sums(candidate_sets(labels, rate, seed))) for seed in SEEDS])
        print(f"flip rate {rate}: bias {found.mean() - rate:+.4f}, spread {found.std(ddof=1):.4f}")


if __name__ == "__main__":
    main()
