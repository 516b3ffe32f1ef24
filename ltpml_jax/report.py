"""What a run leaves for people: the table at its end, and results.json."""

import json
import math
from pathlib import Path

from ltpml_jax.evaluation import Scores
from ltpml_jax.records import clean

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
    ("hard label precision", "hard_label_precision"),
    ("hard label recall", "hard_label_recall"),
)


def table(title: str, results: dict[str, Scores], quality: Scores | None) -> str:
    """Plain text: one row a checkpoint in `results`, then the quality of the corrected labels; in percent."""
    width = max(len(name) for name in results) + 2
    lines = [title, " " * width + "".join(f"{head:>12}" for head, _ in TABLE)]
    for name, scores in results.items():
        lines.append(f"{name:<{width}}" + "".join(f"{_show(scores[key]):>12}" for _, key in TABLE))
    if quality is None:
        lines.append("corrected labels: this method keeps none")
    else:
        lines.append("corrected labels: " + ", ".join(f"{head} {_show(quality[key])}" for head, key in QUALITY))
    return "\n".join(lines)


def save(workdir: Path, results: dict[str, Scores], quality: Scores | None, facts: dict) -> None:
    """Write results.json, whole or not at all: the table's numbers, by checkpoint, and the facts of the run."""
    tests = {name: clean(scores) for name, scores in results.items()}
    record = facts | {"test": tests, "corrected_labels": quality and clean(quality)}
    temporary = (workdir / FILE).with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    temporary.replace(workdir / FILE)


def _show(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
