"""Logits of a whole split, by prediction."""

from collections import deque
from typing import Any

import numpy as np

from ltpml_jax.data.feed import AHEAD, Feed
from ltpml_jax.errors import UserError
from ltpml_jax.runtime import watchdog
from ltpml_jax.runtime.preemption import PreemptedError
from ltpml_jax.step import Predict


def predict_all(predict: Predict, params: Any, rest: Any, feed: Feed, images: int) -> dict[str, np.ndarray]:
    """Logits float32 [images, C] of every image once, in order, by prediction; rows of NaN for those left out.

    Raises UserError where they are not finite: the last step before a checkpoint can still break the parameters; and
    PreemptedError as soon as SIGTERM comes to any process.
    """
    found, waiting = [], deque()

    def take() -> None:
        outputs, broadcasts = waiting.popleft()
        gathered = feed.gather(broadcasts)
        if gathered["stop"]:
            raise PreemptedError
        mask, outputs = gathered["mask"], {name: np.array(logits) for name, logits in outputs.items()}
        if not all(np.isfinite(logits[mask]).all() for logits in outputs.values()):
            raise UserError(
                "The network's outputs are not finite; train again with a lower config.optim.learning_rate."
            )
        for logits in outputs.values():
            logits[~mask] = np.nan
        found.append(outputs)
        watchdog.beat(f"evaluation of batch {len(found)}")

    for batch, broadcasts in feed:
        waiting.append((predict(params, rest, batch["image"]), broadcasts))
        if len(waiting) > AHEAD:
            take()
    while waiting:
        take()
    return {name: np.concatenate([outputs[name] for outputs in found])[:images] for name in found[0]}


def read_rows(logits: np.ndarray) -> np.ndarray:
    """Bool [n]: which rows of logits [n, C] belong to images that were not left out."""
    return np.asarray(np.isfinite(logits).all(axis=1))
