"""Rows of predictions as text: CSV and JSON lines, written and read back.

CSV: `path`, `error`, `labels` (names joined by ";"), `score:CLASS`... JSON lines: {"path", "labels": [...], "top":
[[class, score], ...], "scores": {class: score}}, or {"path", "error"}. Scores are the shortest decimals that give the
float32 again.
"""

import csv
import json
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

import numpy as np

from ltpml_jax.inference.thresholds import Decision
from ltpml_jax.runtime.files import csv_line

SEPARATOR = ";"
SCORE = "score:"


class Result(NamedTuple):
    """One image: its name in the output; why it could not be read, or ""; its scores float32 [C], of no use then."""

    path: str
    error: str
    scores: np.ndarray


class FormatError(ValueError):
    """A file does not hold the results of such a run; a clause that says why."""


def columns(decision: Decision) -> list[str]:
    """The header of a table of results."""
    return ["path", "error", "labels", *(f"{SCORE}{name}" for name in decision.class_names)]


def joined(decision: Decision, result: Result) -> str:
    """The labels of an image in one cell; empty where it could not be read."""
    return "" if result.error else SEPARATOR.join(decision.labels(result.scores))


def highest(decision: Decision, result: Result, top: int) -> list[tuple[str, float]]:
    """The `top` classes of the highest scores, with these; the model's order where scores are equal."""
    order = np.argsort(-result.scores, kind="stable")[:top]
    return [(decision.class_names[j], _decimal(result.scores[j])) for j in order]


class CSVLines:
    """Results as lines of CSV."""

    def __init__(self, decision: Decision, top: int) -> None:
        """`top` is not used: a table has all scores."""
        self.decision = decision

    def header(self) -> str:
        """What the file begins with."""
        return csv_line(columns(self.decision))

    def line(self, result: Result) -> str:
        """One image, with the line's end."""
        scores = [""] * len(self.decision.class_names) if result.error else [str(score) for score in result.scores]
        return csv_line([result.path, result.error, joined(self.decision, result), *scores])

    def read(self, file: TextIO, whole: bool) -> Iterator[tuple[Result, str]]:
        """Results, and their labels joined; a last one that is not complete is left out.

        whole: whether the file ends with a line break. Raises FormatError.
        """
        reader, wanted = csv.reader(file), columns(self.decision)
        try:
            if next(reader, wanted) != wanted:
                raise FormatError("its header is another one")
            before = None
            for record in reader:
                if before is not None:
                    yield self._parsed(before)
                before = record
            if before is not None and whole and len(before) == len(wanted):
                yield self._parsed(before)
        except csv.Error as error:
            raise FormatError(str(error)) from None

    def _parsed(self, record: list[str]) -> tuple[Result, str]:
        path, error, labels, *scores = record if len(record) > 2 else ["", "", ""]
        if len(scores) != len(self.decision.class_names):
            raise FormatError(f"the row of {path!r} has {len(record)} cells")
        try:
            return Result(path, error, np.array([score or np.nan for score in scores], np.float32)), labels
        except ValueError:
            raise FormatError(f"the scores of {path!r} are no numbers") from None


class JSONLines:
    """Results as JSON lines."""

    def __init__(self, decision: Decision, top: int) -> None:
        """`top`: how many classes are listed by score."""
        self.decision, self.top = decision, top

    def header(self) -> str:
        """What the file begins with: nothing."""
        return ""

    def line(self, result: Result) -> str:
        """One image, with the line's end."""
        content: dict[str, Any] = {"path": result.path}
        if result.error:
            content["error"] = result.error
        else:
            scores = zip(self.decision.class_names, map(_decimal, result.scores), strict=True)
            content["labels"] = self.decision.labels(result.scores)
            content |= {"top": highest(self.decision, result, self.top), "scores": dict(scores)}
        return json.dumps(content, ensure_ascii=False) + "\n"

    def read(self, file: TextIO, whole: bool) -> Iterator[tuple[Result, str]]:
        """As of CSVLines; a line is complete where it ends with a line break."""
        names = self.decision.class_names
        for line in file:
            if not line.endswith("\n"):
                return
            try:
                content = json.loads(line)
                error = str(content.get("error", ""))
                found = content["scores"] if not error else dict.fromkeys(names, np.nan)
                if tuple(found) != names:
                    raise FormatError("its classes are others")
                scores = np.array(list(found.values()), np.float32)
                labels = SEPARATOR.join(content["labels"]) if not error else ""
                yield Result(content["path"], error, scores), labels
            except FormatError:
                raise
            except (ValueError, KeyError, TypeError, AttributeError):
                raise FormatError("a line of it is no result") from None


def _decimal(score: Any) -> float:
    return float(str(score))
