"""Evaluation: logits of a whole split, and the measures that the field reports."""

from collections import deque
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, f1_score

from ltpml_jax.data.labels import LabelState
from ltpml_jax.errors import UserError
from ltpml_jax.feed import AHEAD, Feed
from ltpml_jax.runtime import watchdog
from ltpml_jax.runtime.preemption import PreemptedError
from ltpml_jax.step import Predict

Scores = dict[str, float]


def predict_all(predict: Predict, params: Any, rest: Any, feed: Feed, images: int) -> dict[str, np.ndarray]:
    """Logits float32 [images, C] of every image once, in order, by prediction; rows of NaN for those left out.

    Raises UserError where they are not finite: the last step before a checkpoint can still break the parameters; and
    PreemptedError as soon as SIGTERM comes to any process.
    """
    found, waiting = [], deque()

    def take() -> None:
        outputs, news = waiting.popleft()
        heard = feed.hear(news)
        if heard["stop"]:
            raise PreemptedError
        mask, outputs = heard["mask"], {name: np.array(logits) for name, logits in outputs.items()}
        if not all(np.isfinite(logits[mask]).all() for logits in outputs.values()):
            raise UserError(
                "The network's outputs are not finite; train again with a lower config.optim.learning_rate."
            )
        for logits in outputs.values():
            logits[~mask] = np.nan
        found.append(outputs)
        watchdog.beat(f"evaluation of batch {len(found)}")

    for batch, news in feed:
        waiting.append((predict(params, rest, batch["image"]), news))
        if len(waiting) > AHEAD:
            take()
    while waiting:
        take()
    return {name: np.concatenate([outputs[name] for outputs in found])[:images] for name in found[0]}


def read(logits: np.ndarray) -> np.ndarray:
    """Bool [n]: which rows of logits [n, C] belong to images that were not left out."""
    return np.asarray(np.isfinite(logits).all(axis=1))


def scores(logits: np.ndarray, states: np.ndarray, groups: dict[str, np.ndarray]) -> Scores:
    """mAP of each class group, F1 and accuracy at logit > 0; all in percent, NaN where undefined.

    logits [n, C]; states [n, C] of LabelState, of which only positives and negatives are looked at; groups: masks
    bool [C]. A class without positives has no AP and is left out of the means. Accuracy is the mean over classes of
    the share of right decisions.
    """
    precision, said, known = average_precision(logits, states), logits > 0, states <= LabelState.POSITIVE
    everything = {"total": np.ones(states.shape[1], bool)} | groups
    out = {f"mAP_{name}": _mean(precision[mask]) for name, mask in everything.items()}
    out["micro_F1"] = _f1(states[known], said[known])
    classes = [(states[known[:, j], j], said[known[:, j], j]) for j in np.flatnonzero(known.any(0))]
    out["macro_F1"] = _mean(np.array([_f1(true, guess) for true, guess in classes if true.any()]))
    out["accuracy"] = _mean(np.array([(true == guess).mean() * 100 for true, guess in classes]))
    return out


def average_precision(logits: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Non-interpolated AP in percent [C] over the images whose label is known; NaN for a class without positives."""
    precision = np.full(states.shape[1], np.nan)
    for j in np.flatnonzero((states == LabelState.POSITIVE).any(0)):
        known = states[:, j] <= LabelState.POSITIVE
        precision[j] = average_precision_score(states[known, j], logits[known, j]) * 100
    return precision


def _f1(truth: np.ndarray, said: np.ndarray) -> float:
    return float(f1_score(truth, said, zero_division=0)) * 100  # pyright: ignore[reportArgumentType]


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
