"""thresholds.json of a work directory: from which score on a class counts as present, without any true label.

A run estimates from its labels what share of the images has a class (class_counts of model.json over 1 - r, the
estimated missing rate). The threshold of the class is the score that this share of images exceeds, among images as the
network was trained on: those that were held out of training or, where none were, the training images themselves. It
depends on no image that is predicted later, so that an image has the same labels in any company.

A JSON object: `format`, `step` of the checkpoint, `images` (how many, and which), `thresholds` by class.
"""

import json
from pathlib import Path

import numpy as np

from ltpml_jax.errors import UserError
from ltpml_jax.runtime.files import write_atomic, writing

FILE = "thresholds.json"
FORMAT = 1
MAKE = "finish its run, or make it with `ltpml evaluate --workdir={} --predictions` where the dataset is"


def scores(logits: np.ndarray) -> np.ndarray:
    """Scores float32 [n, C] in [0, 1] of logits [n, C]: the sigmoid."""
    from scipy.special import expit  # 0.2 s that a start does not need

    return expit(np.asarray(logits, np.float64)).astype(np.float32)


def expected(found: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Thresholds float64 [C] that round(share [C] * n) of n scores [n, C] are above, ties left out.

    They lie halfway between the last score that is let through and the next; where none is let through, at the highest.
    """
    ordered = np.sort(np.asarray(found, np.float64), 0)[::-1]
    passing = np.rint(np.clip(share, 0, 1) * len(ordered)).astype(np.int64)
    padded = np.concatenate([ordered[:1], ordered, np.zeros_like(ordered[:1])])  # scores above 0 are all let through
    columns = np.arange(ordered.shape[1])
    return (padded[passing, columns] + padded[passing + 1, columns]) / 2


def save(workdir: Path, class_names: tuple[str, ...], thresholds: np.ndarray, step: int, images: str) -> None:
    """Write thresholds.json, whole or not at all; UserError where it cannot be written."""
    values = dict(zip(class_names, thresholds.tolist(), strict=True))
    record = {"format": FORMAT, "step": step, "images": images, "thresholds": values}
    path = workdir / FILE
    with writing(path):
        write_atomic(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def load(workdir: Path, otherwise: str = "") -> tuple[dict[str, float], int]:
    """The thresholds by class of a work directory, and the step.

    UserError where they are missing or damaged; `otherwise` is the end of its remedy, of what also helps.
    """
    path, remedy = workdir / FILE, f"{MAKE.format(workdir)}{otherwise}."
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        found, step = dict(record["thresholds"]), int(record["step"])
    except OSError:
        raise UserError(f"There is no {FILE} in {workdir}; {remedy}") from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise UserError(f"{path} is damaged; {remedy}") from None
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in found.values()):
        raise UserError(f"{path} is damaged, as a threshold is no number; {remedy}")
    return found, step
