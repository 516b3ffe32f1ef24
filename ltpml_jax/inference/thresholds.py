"""From which score on a class counts as present: by the run's own estimate, a number, or a file."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import expected_thresholds
from ltpml_jax.runtime.files import check_regular, expanded

EXPECTED = "expected"
FORM = f"a JSON object of a threshold for each class, or --threshold={EXPECTED}|0.5"


class Decision(NamedTuple):
    """class_names: C names; thresholds: float64 [C], a class is present where its score in [0, 1] is above."""

    class_names: tuple[str, ...]
    thresholds: np.ndarray

    def labels(self, scores: np.ndarray) -> list[str]:
        """The classes that are present by scores float32 [C], in the model's order."""
        limits = self.thresholds.astype(np.float32)  # or a score that is written as 0.1 would be above 0.1
        return [self.class_names[j] for j in np.flatnonzero(scores > limits)]


def decide(text: str, class_names: tuple[str, ...], workdir: Path, step: int) -> Decision:
    """The thresholds that `text` names: `expected`, a number in [0, 1] for all classes, or a JSON file {class: number}.

    Raises UserError for anything else, and, for `expected`, where the run has none for its checkpoint at `step`.
    """
    if text == EXPECTED:
        values, made_at = expected_thresholds.load(workdir, ", or give --threshold=0.5")
        if made_at != step:
            raise UserError(
                f"The thresholds {EXPECTED!r} are those of step {made_at}, and the checkpoint is of step {step}; give "
                "--threshold=0.5 or a file, or --checkpoint=last."
            )
        return Decision(class_names, _values(values, class_names, workdir / expected_thresholds.FILE))
    try:
        number = float(text)
    except ValueError:
        return Decision(class_names, _of_file(expanded(text), class_names))
    return Decision(class_names, _checked(np.full(len(class_names), number), "--threshold"))


def _of_file(path: Path, class_names: tuple[str, ...]) -> np.ndarray:
    try:
        check_regular(path)
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"The thresholds {path} cannot be read ({error}); give {FORM}.") from None
    if not isinstance(content, dict):
        raise UserError(f"The thresholds {path} are no JSON object; give {FORM}.")
    return _values(content, class_names, path)


def _values(content: dict[str, Any], class_names: tuple[str, ...], path: Path) -> np.ndarray:
    odd = sorted(content.keys() ^ set(class_names))
    if odd:
        what = "is no class of the run" if odd[0] in content else "is missing"
        raise UserError(f"In the thresholds {path}, {odd[0]!r} {what}; give {FORM}.")
    try:
        values = np.array([float(content[name]) for name in class_names])
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"The thresholds {path} hold something else than numbers; give {FORM}.") from None
    return _checked(values, str(path))


def _checked(values: np.ndarray, source: str) -> np.ndarray:
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        raise UserError(
            f"{source} holds the threshold {values[wrong][0]:g}; scores lie in [0, 1], so choose one there."
        )
    return values
