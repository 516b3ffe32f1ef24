"""Measures exactly as the released code of COMIC and of ML-GCN computes them, to compare with their tables.

`metrics` has what the package reports. These differ in conventions: equal scores keep some order instead of counting
as one threshold (so that scikit-learn's average precision does not equal them), and so do classes without positives,
or without predictions. All take complete labels [n, C] in {0, 1}; all results are float64.
"""

import numpy as np

MANY, FEW = 100, 20  # training images: many from MANY on, few below FEW


def comic_average_precision(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """COMIC's AP [C], as a fraction, of scores [n, C]: sum of the precisions at positives / (positives + 1e-8).

    0 for a class without positives. Of equal scores the later image comes first.
    """
    order = np.argsort(scores, axis=0, kind="stable")[::-1]
    return _precision_sum(order, targets) / ((targets == 1).sum(0) + 1e-8)


def comic_shot_map(scores: np.ndarray, targets: np.ndarray, train_counts: np.ndarray) -> dict[str, float]:
    """COMIC's mAP in percent: total, many, medium, few; classes grouped by training counts int [C], NaN for no class.

    The counts are those of the labels that training sees; many means 100 or more, few below 20.
    """
    precision = 100 * comic_average_precision(scores, targets)
    groups = {
        "total": np.ones(len(precision), bool),
        "many": train_counts >= MANY,
        "medium": (train_counts >= FEW) & (train_counts < MANY),
        "few": train_counts < FEW,
    }
    return {name: float(precision[mask].mean()) if mask.any() else float("nan") for name, mask in groups.items()}


def mlgcn_average_precision(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """ML-GCN's AP [C], as a fraction, of logits [n, C]: COMIC's without the 1e-8.

    NaN for a class without positives. Of equal logits the earlier image comes first.
    """
    order = np.argsort(-logits, axis=0, kind="stable")
    with np.errstate(invalid="ignore"):
        return _precision_sum(order, targets) / (targets == 1).sum(0)


def mlgcn_f1(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """ML-GCN's overall and per-class precision, recall, F1 (OP, OR, OF1, CP, CR, CF1), fractions, at logit >= 0.

    A class that is predicted nowhere counts as predicted once, in OP too. CF1 is the F1 of the mean precision and the
    mean recall, not the mean of F1s. A class without positives makes CR and CF1 NaN.
    """
    predicted, present = logits >= 0, targets == 1
    hits, guesses, positives = (predicted & present).sum(0), np.maximum(predicted.sum(0), 1), present.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        overall = hits.sum() / guesses.sum(), hits.sum() / positives.sum()
        by_class = (hits / guesses).mean(), (hits / positives).mean()
        values = [*overall, _f1(*overall), *by_class, _f1(*by_class)]
    return dict(zip(("OP", "OR", "OF1", "CP", "CR", "CF1"), map(float, values), strict=True))


def _precision_sum(order: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Sum [C] of the precisions at the positives of targets [n, C], taken in `order` int [n, C]."""
    hits = np.take_along_axis(targets, order, axis=0) == 1
    precision = hits.cumsum(0) / np.arange(1, len(hits) + 1)[:, None]
    return np.where(hits, precision, 0).sum(0)


def _f1(precision: np.floating, recall: np.floating) -> np.floating:
    return 2 * precision * recall / (precision + recall)
