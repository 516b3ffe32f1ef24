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

from ltpml_jax.data import source
from ltpml_jax.errors import UserError
from ltpml_jax.photometric import normalise
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

    Raises UserError where they are not finite: the last step before a checkpoint can still break the parameters.
    """
    collected = Collected.empty()
    for batch in batches:
        logits = predict(params, rest, batch["image"])
        collected = collected.merge(Collected.from_model_output(logits=logits, mask=batch["mask"]))
    values = collected.compute()
    logits = np.asarray(values["logits"])[np.asarray(values["mask"])]
    if not np.isfinite(logits).all():
        raise UserError("The network's outputs are not finite; train again with a lower config.optim.learning_rate.")
    return logits


def scores(logits: np.ndarray, labels: np.ndarray, train_counts: np.ndarray) -> Scores:
    """mAP by group of training count, F1 and accuracy at logit > 0; all in percent, NaN where undefined.

    logits [n, C]; labels [n, C] in {0, 1}; train_counts [C]. A class without positives has no AP and is left out of
    the means. Accuracy is the mean over classes of the share of right decisions.
    """
    precision, said = average_precision(logits, labels), logits > 0
    groups = {"total": np.ones(len(train_counts), bool)} | source.class_groups(train_counts)
    out = {f"mAP_{name}": _mean(precision[group]) for name, group in groups.items()}
    out["micro_F1"] = float(f1_score(labels, said, average="micro", zero_division=0)) * 100  # pyright: ignore[reportArgumentType]
    seen = labels.any(0)
    out["macro_F1"] = float(f1_score(labels[:, seen], said[:, seen], average="macro", zero_division=0)) * 100  # pyright: ignore[reportArgumentType]
    out["accuracy"] = float((said == labels).mean()) * 100
    return out


def average_precision(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Non-interpolated AP in percent [C]; NaN for a class without positives."""
    precision = np.full(labels.shape[1], np.nan)
    for j in np.flatnonzero(labels.any(0)):
        precision[j] = average_precision_score(labels[:, j], logits[:, j]) * 100
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


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
