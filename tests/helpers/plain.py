"""The losses of one network as their definitions read, one element at a time, in float64; and slopes by differences."""

from collections.abc import Callable

import numpy as np


def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def summed(element: Callable[..., float], z: np.ndarray, *tables: np.ndarray) -> float:
    """The sum of a function of a logit and of the entries of the tables at the same place."""
    return float(sum(element(z[place], *(table[place] for table in tables)) for place in np.ndindex(*z.shape)))


def focal_term(present: float, absent: float, positive: float, gamma: float) -> float:
    """-log(pt) (1 - pt)^gamma of one label, the logarithm cut at 1e-8."""
    pt = present if positive else absent
    return -np.log(max(pt, 1e-8)) * (1 - pt) ** gamma


def asl(z: np.ndarray, y: np.ndarray, gamma_neg: float, gamma_pos: float, clip: float) -> float:
    """ASL, summed."""

    def element(logit: float, label: float) -> float:
        p = sigmoid(logit)
        return focal_term(p, min(1 - p + clip, 1), label, gamma_pos if label else gamma_neg)

    return summed(element, z, y)


def pasl(z: np.ndarray, t: np.ndarray, gammas: tuple, clip: float, weight: np.ndarray) -> float:
    """P-ASL, summed; labels t in {1, 0, -1}; gammas: of positives, negatives, unannotated ones."""

    def element(logit: float, label: float, share: float) -> float:
        p = sigmoid(logit)
        gamma = gammas[{1: 0, 0: 1, -1: 2}[int(label)]]
        return share * focal_term(p, min(1 - p + clip, 1), label == 1, gamma)

    return summed(element, z, t, weight)


def selective(z: np.ndarray, t: np.ndarray, top: int, ignored: np.ndarray) -> np.ndarray:
    """Weights of the selective mode: 0 for the `top` likeliest unannotated labels, and in the `ignored` classes."""
    weight = np.ones(t.shape)
    places = sorted((place for place in np.ndindex(*t.shape) if t[place] == -1), key=lambda place: -z[place])
    for place in places[:top]:
        weight[place] = 0
    weight[(t == -1) & ignored[None]] = 0
    return weight


def hill(z: np.ndarray, y: np.ndarray, margin: float) -> float:
    """Hill, lambda 1.5 and gamma 2, summed."""

    def element(logit: float, label: float) -> float:
        p, shifted = sigmoid(logit), sigmoid(logit - margin)
        return -((1 - shifted) ** 2) * np.log(shifted) if label else (1.5 - p) * p**2

    return summed(element, z, y)


def splc(z: np.ndarray, y: np.ndarray, epoch: int, threshold: float) -> float:
    """SPLC, margin 1 and gamma 2, summed."""

    def element(logit: float, label: float) -> float:
        p = sigmoid(logit - label)
        target = 1 if label or (epoch >= 1 and p > threshold) else 0
        return (p - target) ** 2 * -np.log(p if target else 1 - p)

    return summed(element, z, y)


def negative_log(v):
    """-log(v + 1e-5)."""
    return -np.log(v + 1e-5)


def assume_negative(z: np.ndarray, y: np.ndarray, weight: float) -> float:
    """y nl(p) + weight (1 - y) nl(1 - p), the mean."""

    def element(logit: float, label: float) -> float:
        p = sigmoid(logit)
        return label * negative_log(p) + weight * (1 - label) * negative_log(1 - p)

    return summed(element, z, y) / z.size


def surplus(p: np.ndarray, k: float) -> float:
    """The regulariser of EPR."""
    return ((p.sum(1).mean() - k) / p.shape[1]) ** 2


def role(z: np.ndarray, theta: np.ndarray, y: np.ndarray, k: float) -> float:
    """ROLE: half the sum of both sides."""
    p, estimate = sigmoid(z), sigmoid(theta)
    sides = [(p, estimate), (estimate, p)]
    known = [
        (y * negative_log(a)).mean() + (b * negative_log(a) + (1 - b) * negative_log(1 - a)).mean() for a, b in sides
    ]
    return sum(known) / 2 + (surplus(p, k) + surplus(estimate, k)) / 2


def vpu(z: np.ndarray, y: np.ndarray, gamma: float, alpha: float) -> float:
    """PU-MLC's variational loss, one class at a time."""
    total = 0.0
    for c in range(z.shape[1]):
        p = sigmoid(z[:, c] / min(alpha * np.sqrt(((z[:, c] - z[:, c].mean()) ** 2).mean()), 1))
        total += p.mean() ** gamma * np.log(p.mean() + 1e-10)
        total -= np.log(p[y[:, c] == 1]).mean() if (y[:, c] == 1).any() else 0
    return total


def slopes(loss: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of a scalar loss, like `at`."""
    found = np.zeros_like(at)
    for place in np.ndindex(*at.shape):
        shift = np.zeros_like(at)
        shift[place] = step
        found[place] = (loss(at + shift) - loss(at - shift)) / (2 * step)
    return found
