"""What a run leaves for people: the table at its end, and results.json."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ltpml_jax.evaluation.metrics import LEFT, Scores
from ltpml_jax.runtime.files import write_atomic, writing
from ltpml_jax.runtime.metrics_log import clean

FILE = "results.json"
TABLE = (
    ("mAP Total", "mAP_total"),
    ("mAP Head", "mAP_head"),
    ("mAP Medium", "mAP_medium"),
    ("mAP Tail", "mAP_tail"),
    ("micro F1", "micro_F1"),
    ("macro F1", "macro_F1"),
    ("accuracy", "accuracy"),
)
QUALITY = (
    ("soft label AP over candidates", "soft_label_AP"),
    ("soft label x set size AP", "soft_label_x_size_AP"),
    ("soft label AP over unknown labels", "soft_label_unknown_AP"),
    ("hard label precision", "hard_label_precision"),
    ("hard label recall", "hard_label_recall"),
)


def table(title: str, results: dict[str, Scores], quality: Scores | str, notes: Sequence[str]) -> str:
    """Plain text: one row a checkpoint in `results`, in percent; then the quality of corrected labels, or why not."""
    width = max(len(name) for name in results) + 2
    lines = [title, " " * width + "".join(f"{head:>12}" for head, _ in TABLE)]
    for name, scores in results.items():
        lines.append(f"{name:<{width}}" + "".join(f"{_show(scores[key]):>12}" for _, key in TABLE))
    if not isinstance(quality, str):
        known = [(head, quality[key]) for head, key in QUALITY if not math.isnan(quality[key])]
        quality = ", ".join(f"{head} {_show(value)}" for head, value in known)
    return "\n".join([*lines, f"corrected labels: {quality}", *(f"note: {note}" for note in notes)])


def left_note(scores: Scores) -> list[str]:
    """The note on groups by the positives that are left in training, where `scores` has them."""
    if LEFT[0] not in scores:
        return []
    many, medium, few, average = (_show(scores[name]) for name in LEFT)
    return [
        f"mAP of the last by the positives left in training: many (100 or more) {many}, medium {medium}, "
        f"few (below 20) {few}, average of the three {average}"
    ]


def class_table(
    names: Sequence[str], counts: np.ndarray, groups: dict[str, np.ndarray], precision: dict[str, np.ndarray]
) -> str:
    """Plain text: one row a class, with training positives [C], group, and AP [C] of each checkpoint in percent."""
    width = max(len(name) for name in ("class", *names)) + 2
    lines = [f"{'class':<{width}}{'train':>8}  {'group':<8}" + "".join(f"  {name:>16}" for name in precision)]
    for j, name in enumerate(names):
        group = next((group for group, mask in groups.items() if mask[j]), "-")
        values = "".join(f"  {_show(found[j]):>{max(16, len(name))}}" for name, found in precision.items())
        lines.append(f"{name:<{width}}{counts[j]:>8.10g}  {group:<8}{values}")
    return "\n".join(lines)


def save(
    workdir: Path, results: dict[str, Scores], classes: dict[str, Scores], quality: Scores | str, metadata: dict
) -> None:
    """Write results.json, whole or not at all: `metadata`, and by checkpoint the table's numbers and AP by class.

    UserError where it cannot be written.
    """
    tests = {name: clean(scores) for name, scores in results.items()}
    by_class = {name: clean(scores) for name, scores in classes.items()}
    labels = None if isinstance(quality, str) else clean(quality)
    record = metadata | {"test": tests, "class_AP": by_class, "corrected_labels": labels}
    path = workdir / FILE
    with writing(path):
        write_atomic(path, json.dumps(record, indent=2, sort_keys=True) + "\n")


def _show(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
