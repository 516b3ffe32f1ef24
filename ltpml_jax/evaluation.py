"""Evaluation: logits of a whole split, and the measures that the field reports."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from clu import metrics as clu_metrics
from flax import struct
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support

from ltpml_jax.data.labels import LabelState
from ltpml_jax.errors import UserError
from ltpml_jax.photometric import normalise
from ltpml_jax.preemption import until_asked
from ltpml_jax.state import batch_sharding

Predict = Callable[[Any, Any, jax.Array], jax.Array]
Scores = dict[str, float]


@struct.dataclass
class Collected(clu_metrics.CollectingMetric.from_outputs(("logits", "mask"))):
    """Logits [n, C] and masks [n] of all batches, in order."""


def make_predict(forward: Callable, mesh: Mesh) -> Predict:
    """Compile (params, rest, images uint8 [B, H, W, 3]) -> logits float32 [B, C] without bias, on a mesh."""

    def predict(params: Any, rest: Any, images: jax.Array) -> jax.Array:
        return forward(params, rest, normalise(images), train=False, mask=None, dropout_key=None)[0]

    everywhere = NamedSharding(mesh, P())
    return jax.jit(predict, in_shardings=(everywhere, everywhere, batch_sharding(mesh)), out_shardings=everywhere)


def predict_all(predict: Predict, params: Any, rest: Any, batches: Iterator[dict]) -> np.ndarray:
    """Logits float32 [n, C] of every image once, in order; padded rows are dropped.

    Raises UserError where they are not finite: the last step before a checkpoint can still break the parameters; and
    PreemptedError as soon as SIGTERM comes.
    """
    collected = Collected.empty()
    for batch in until_asked(batches):
        logits = predict(params, rest, batch["image"])
        collected = collected.merge(Collected.from_model_output(logits=logits, mask=batch["mask"]))
    values = collected.compute()
    logits = np.asarray(values["logits"])[np.asarray(values["mask"])]
    if not np.isfinite(logits).all():
        raise UserError("The network's outputs are not finite; train again with a lower config.optim.learning_rate.")
    return logits


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


def label_quality(soft: np.ndarray, hard: np.ndarray, truth: np.ndarray, candidates: np.ndarray) -> Scores:
    """How good pseudo labels are, in percent; all arguments [N, C].

    Average precision of the soft labels over all candidates (true against false ones), precision and recall of the
    hard labels.
    """
    at = candidates > 0
    precision, recall, _, _ = precision_recall_fscore_support(
        truth.ravel(),
        hard.ravel() > 0,
        average="binary",
        zero_division=0,  # pyright: ignore[reportArgumentType]
    )
    average = average_precision_score(truth[at], soft[at]) if truth[at].any() else np.nan
    return {
        "soft_label_AP": float(average) * 100,
        "hard_label_precision": float(precision) * 100,
        "hard_label_recall": float(recall) * 100,
    }


def _f1(truth: np.ndarray, said: np.ndarray) -> float:
    return float(f1_score(truth, said, zero_division=0)) * 100  # pyright: ignore[reportArgumentType]


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
