"""The end of a run as TensorBoard events: its config as HParams, test scores, AP by class, PR curves of the groups.

They lie in a file of their own in the run's `tensorboard` folder, so that TensorBoard shows one run. tensorboardX's
own `add_hparams` makes a folder for each call, which shows as another run; here its summaries go to the same file.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ltpml_jax.data.labels import LabelState
from ltpml_jax.evaluation.metrics import Scores
from ltpml_jax.evaluation.prediction import read_rows
from ltpml_jax.runtime import metrics_log
from ltpml_jax.runtime.files import writing

SUFFIX = ".results"  # of the file's name


class Results(NamedTuple):
    """What a run ended in: the step; fields of its config; scores of the headline by name.

    class_names: C; precision: AP in percent float [C], NaN where undefined; logits float32 [n, C] of test images, rows
    of NaN for those that could not be read; states int8 [n, C] of LabelState; groups: masks bool [C] by name.
    """

    step: int
    fields: Mapping[str, Any]
    scores: Scores
    class_names: Sequence[str]
    precision: np.ndarray
    logits: np.ndarray
    states: np.ndarray
    groups: Mapping[str, np.ndarray]


def write(workdir: Path, found: Results) -> None:
    """Write the events, in place of those that the end of this run wrote before.

    Scores are `test/NAME`, AP by class `test_AP/CLASS`, PR curves over all known labels of a group `test_PR/GROUP`.
    Numbers that are not finite are left out. UserError where they cannot be written.
    """
    folder = workdir / metrics_log.EVENTS
    with writing(folder):
        for path in folder.glob(f"*{SUFFIX}"):
            path.unlink()
        writer = metrics_log.event_writer(folder, suffix=SUFFIX)
    try:
        metrics = {f"test/{name}": value for name, value in found.scores.items() if math.isfinite(value)}
        for summary in hparams(found.fields, metrics):
            writer.file_writer.add_summary(summary, found.step)
        by_class = dict(zip(tags(found.class_names), found.precision.tolist(), strict=True))
        for tag, value in (metrics | {f"test_AP/{name}": value for name, value in by_class.items()}).items():
            if math.isfinite(value):
                writer.add_scalar(tag, value, found.step)
        for name, (labels, scores) in entries(found.logits, found.states, found.groups).items():
            writer.add_pr_curve(f"test_PR/{name}", labels, scores, found.step)
    finally:
        writer.close()
    metrics_log.check_events(writer)


def hparams(fields: Mapping[str, Any], metrics: Mapping[str, float]) -> tuple[Any, ...]:
    """tensorboardX's summaries of HParams: fields as numbers, switches and text, others as JSON."""
    from tensorboardX.summary import hparams as summaries  # after event_writer has imported it without torch

    plain = {k: v if isinstance(v, bool | int | float | str) else json.dumps(v) for k, v in fields.items()}
    return summaries(plain, dict(metrics))


def tags(class_names: Sequence[str]) -> list[str]:
    """Names for tags, in which tensorboardX keeps letters of any script, digits and -/_. only; all different."""
    plain = [
        "".join(letter if letter.isalnum() or letter in "-/_." else "_" for letter in name) for name in class_names
    ]
    seen = Counter(plain)
    return [name if seen[name] == 1 else f"{name}_{number}" for number, name in enumerate(plain)]


def entries(
    logits: np.ndarray, states: np.ndarray, groups: Mapping[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(labels bool [k], scores float64 [k]) of each group's known test labels; none for a group without positives."""
    from scipy.special import expit

    read, found = read_rows(logits), {}
    scores, states = expit(logits[read].astype(np.float64)), states[read]
    for name, mask in groups.items():
        known = states[:, mask] <= LabelState.POSITIVE
        labels = (states[:, mask] == LabelState.POSITIVE)[known]
        if labels.any():
            found[name] = labels, scores[:, mask][known]
    return found
