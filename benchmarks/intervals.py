"""Coverage of the bootstrap's 95 % intervals: `python -m benchmarks.intervals [--pairs=500]`.

Two systems of which one is better on each class by an amount of its own are scored on simulated test sets: correlated
normal scores, one mean for images with the class and one for those without. The difference in mAP that they have on a
test set of TRUTH images stands for the true one. An interval covers where that lies in it; so it should in 95 % of all
test sets, and the p value under no difference should be below 0.05 in 5 %. `percentile` is the interval between the
draws' 2.5 % and 97.5 % points, which the package does not use.
"""

import argparse
from typing import NamedTuple

import numpy as np

from ltpml_jax.evaluation import bootstrap

TRUTH = 200_000
FREQUENCIES = np.geomspace(0.4, 0.01, 20)  # of 20 classes among the test images, as digits_mlt's
SIZES = {"head": slice(0, 7), "medium": slice(7, 13), "tail": slice(13, 20)}
GROUPS = {name: np.isin(np.arange(20), np.arange(20)[part]) for name, part in SIZES.items()}
SHARED = 0.6  # correlation of the two systems' scores on an image


class Coverage(NamedTuple):
    """Shares of the pairs, [4] by bootstrap.SCORES: covered by the interval, by percentiles, and p below 0.05."""

    interval: np.ndarray
    percentile: np.ndarray
    rejected: np.ndarray


def simulate(images: int, skills: np.ndarray, rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """Logits float32 [n, C] of two systems with skills [2, C], the shift of an image with the class; its states."""
    states = (rng.random((images, len(FREQUENCIES))) < FREQUENCIES).astype(np.int8)
    common = rng.normal(size=states.shape)
    own = [rng.normal(size=states.shape) for _ in skills]
    noise = [np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * mine for mine in own]
    return [(shift * states + each).astype(np.float32) for shift, each in zip(skills, noise, strict=True)], states


def differences(logits: list[np.ndarray], states: np.ndarray) -> np.ndarray:
    """Differences [4] between the first and the second system on a test set, every image once."""
    once = np.ones((len(states), 1), np.float32)
    found = [[bootstrap.weighted_precision(bootstrap.rank(one[:, j], states[:, j]), once)[0] for j in range(20)]
             for one in logits]  # fmt: skip
    by_class = np.subtract(*np.array(found))
    everything = [np.ones(20, bool), *(GROUPS[name] for name in bootstrap.SCORES[1:])]
    return np.array([bootstrap.mean_over(by_class[mask], 0) for mask in everything])


def measure(pairs: int, images: int, draws: int, skills: np.ndarray, seed: int = 0, truth: int = TRUTH) -> Coverage:
    """Coverage over simulated test sets of a pair of systems."""
    rng = np.random.default_rng(seed)
    wanted = differences(*simulate(truth, skills, rng))
    interval, percentile, rejected = (np.zeros((pairs, 4), bool) for _ in range(3))
    for number in range(pairs):
        logits, states = simulate(images, skills, rng)
        observed = differences(logits, states)
        drawn = np.subtract(*bootstrap.drawn_scores(logits, states, GROUPS, draws, number))
        found = [bootstrap.difference(float(value), drawn[:, k]) for k, value in enumerate(observed)]
        low, high = np.nanpercentile(drawn, (2.5, 97.5), axis=0)
        interval[number] = [one.low <= true <= one.high for one, true in zip(found, wanted, strict=True)]
        percentile[number] = (low <= wanted) & (wanted <= high)
        rejected[number] = [one.p < 0.05 for one in found]
    return Coverage(*(each.mean(0) for each in (interval, percentile, rejected)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=500, help="simulated test sets of each kind")
    parser.add_argument("--images", type=int, default=1000, help="images of a test set")
    parser.add_argument("--draws", type=int, default=400, help="draws of each bootstrap")
    given = parser.parse_args()
    base = np.linspace(2.0, 1.2, 20)
    kinds = {"no difference": np.stack([base, base]), "one is better": np.stack([base + 0.2, base])}
    print(f"{given.pairs} pairs of test sets of {given.images} images, {given.draws} draws each; percent")
    print(f"{'':<16}{'score':<10}{'covered':>9}{'by percentiles':>16}{'p < 0.05':>10}")
    for kind, skills in kinds.items():
        found = measure(given.pairs, given.images, given.draws, skills)
        for name, covered, percentile, rejected in zip(bootstrap.SCORES, *found, strict=True):
            print(f"{kind:<16}{name:<10}{100 * covered:>9.1f}{100 * percentile:>16.1f}{100 * rejected:>10.1f}")


if __name__ == "__main__":
    main()
