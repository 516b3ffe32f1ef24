"""The measures that the field reports: average precision, F1 and accuracy, over known labels.

scikit-learn is imported where it is used: that takes a second, and a run needs it at its first evaluation.
"""

import numpy as np

from ltpml_jax.data.labels import LabelState, class_groups

Scores = dict[str, float]
LEFT = ("mAP_left_many", "mAP_left_medium", "mAP_left_few", "mAP_left_average")


def scores(logits: np.ndarray, states: np.ndarray, groups: dict[str, np.ndarray]) -> Scores:
    """mAP of each class group, F1 and accuracy at logit > 0; all in percent, NaN where undefined.

    logits [n, C]; states [n, C] of LabelState, of which only positives and negatives are counted; groups: masks
    bool [C]. A class without positives has no AP and is left out of the means. Accuracy is the mean over classes of
    the share of right decisions.
    """
    precision, predicted, known = average_precision(logits, states), logits > 0, states <= LabelState.POSITIVE
    everything = {"total": np.ones(states.shape[1], bool)} | groups
    out = {f"mAP_{name}": _mean(precision[mask]) for name, mask in everything.items()}
    out["micro_F1"] = _f1(states[known], predicted[known])
    classes = [(states[known[:, j], j], predicted[known[:, j], j]) for j in np.flatnonzero(known.any(0))]
    out["macro_F1"] = _mean(np.array([_f1(true, guess) for true, guess in classes if true.any()]))
    out["accuracy"] = _mean(np.array([(true == guess).mean() * 100 for true, guess in classes]))
    return out


def scores_by_positives_left(precision: np.ndarray, left: np.ndarray) -> Scores:
    """mAP in percent of classes grouped by the positives left in training, and the mean of the three: PLT-MLC's tables.

    precision: AP [C] in percent, NaN where undefined; left: int [C], of which 100 or more are many and below 20 few.
    """
    means = [_mean(precision[mask]) for mask in class_groups(left).values()]
    return dict(zip(LEFT, [*means, float(np.mean(means))], strict=True))


def average_precision(logits: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Non-interpolated AP in percent [C] over the images whose label is known; NaN for a class without positives."""
    from sklearn.metrics import average_precision_score

    precision = np.full(states.shape[1], np.nan)
    for j in np.flatnonzero((states == LabelState.POSITIVE).any(0)):
        known = states[:, j] <= LabelState.POSITIVE
        precision[j] = average_precision_score(states[known, j], logits[known, j]) * 100
    return precision


def _f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    if not len(truth):
        return float("nan")
    from sklearn.metrics import f1_score

    return float(f1_score(truth, predicted, zero_division=0)) * 100  # pyright: ignore[reportArgumentType]


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
