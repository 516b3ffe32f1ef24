"""A comparison as tables: plain text, Markdown or HTML."""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ltpml_jax.evaluation.comparison import Comparison, Group

HEADS = ("Total", "Head", "Medium", "Tail")
RESAMPLED = (
    "differences are by a paired bootstrap over the test images, runs fixed: the intervals are of these networks "
    "on other images, and not of other seeds; Holm's correction is over all differences of a table"
)
Parts = Mapping[str, Comparison]  # comparisons by what their runs have in common, "" for nothing to mention


_STYLE = (
    "body{font:15px sans-serif;margin:2em}table{border-collapse:collapse;margin:2em 0}caption{text-align:left;"
    "margin-bottom:.5em}td,th{border-bottom:1px solid #ccc;padding:.3em .8em;text-align:right}.word{text-align:left}"
)


class Sheet(NamedTuple):
    """A table with a title; all cells are text, and the first `left` columns are words."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int


def sheets(found: Comparison) -> list[Sheet]:
    """The tables of a comparison: scores, differences where there are any, budgets."""
    by, images = ", ".join(found.by), found.images
    scores = Sheet(
        f"mAP on {images} test images, percent, mean ± standard deviation over runs",
        (by, "runs", *HEADS),
        tuple((one.label, str(len(one.runs)), *_means(one.scores)) for one in found.groups),
        1,
    )
    differences = Sheet(
        "Differences in points of mAP, with 95 % intervals",
        ("first", "second", "mAP", "first - second", "95 % interval", "p", "p (Holm)"),
        tuple(
            (pair.first, pair.second, head, f"{one.value:+.2f}", _interval(one.low, one.high), _p(one.p), _p(corrected))
            for pair in found.pairs
            for head, one, corrected in zip(HEADS, pair.differences, pair.corrected, strict=True)
            if not math.isnan(one.value)
        ),
        3,
    )
    budgets = Sheet(
        "Budget of each run (a pass is one differentiated loss of a step, over the whole batch)",
        (by, "seeds", "steps", "sampled images", "times the training images", "passes a step", "images x passes"),
        tuple(row for one in found.groups for row in _budgets(one)),
        2,
    )
    return [scores, differences, budgets] if found.pairs else [scores, budgets]


def notes(found: Comparison) -> list[str]:
    """What stands below the tables."""
    return [*([RESAMPLED] if found.pairs else []), *found.notes]


def text(parts: Parts) -> str:
    """Plain text, for a terminal."""
    found = []
    for title, part in parts.items():
        lines = "\n".join(f"note: {note}" for note in notes(part))
        found += filter(None, [f"== {title} ==" if title else "", *map(_aligned, sheets(part)), lines])
    return "\n\n".join(found)


def markdown(parts: Parts) -> str:
    """GitHub's Markdown."""
    found = []
    for title, part in parts.items():
        lines = "\n".join(f"- {_escaped(note)}" for note in notes(part))
        found += filter(None, [f"## {_escaped(title)}" if title else "", *map(_piped, sheets(part)), lines])
    return "\n\n".join(found)


def page(parts: Parts) -> str:
    """A page of HTML that needs no other file."""
    found = []
    for title, part in parts.items():
        found += [f"<h2>{html.escape(title)}</h2>"] if title else []
        for sheet in sheets(part):
            rows = "".join(_row("td", row, sheet.left) for row in sheet.rows)
            caption = html.escape(sheet.title)
            found.append(f"<table><caption>{caption}</caption>{_row('th', sheet.head, sheet.left)}{rows}</table>")
        found.append(f"<ul>{''.join(f'<li>{html.escape(note)}</li>' for note in notes(part))}</ul>")
    head = f'<meta charset="utf-8"><title>Comparison of runs</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(found)}</body></html>'


FORMATS: dict[str, Callable[[Parts], str]] = {"text": text, "markdown": markdown, "html": page}


def _aligned(sheet: Sheet) -> str:
    widths = [max(map(len, column)) for column in zip(sheet.head, *sheet.rows, strict=True)]
    lines = [sheet.title]
    for row in (sheet.head, *sheet.rows):
        cells = [
            cell.ljust(width) if place < sheet.left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _piped(sheet: Sheet) -> str:
    ruler = ["---" if place < sheet.left else "---:" for place in range(len(sheet.head))]
    rows = [[_escaped(cell) for cell in row] for row in (sheet.head, *sheet.rows)]
    lines = [f"| {' | '.join(row)} |" for row in (rows[0], ruler, *rows[1:])]
    return "\n".join([f"{_escaped(sheet.title)}:", "", *lines])


def _means(scores: np.ndarray) -> list[str]:
    """mean ± deviation by column of scores [runs, 4]."""
    cells = []
    for column in scores.T:
        spread = f" ± {column.std(ddof=1):.2f}" if len(column) > 1 else ""
        cells.append("-" if np.isnan(column).any() else f"{column.mean():.2f}{spread}")
    return cells


def _budgets(one: Group) -> list[tuple[str, ...]]:
    """A row for the runs of each budget."""
    rows = []
    for budget in dict.fromkeys(run.budget for run in one.runs):
        seeds = ", ".join(str(run.fields["seed"]) for run in one.runs if run.budget == budget)
        times = f"{budget.images / budget.training_images:.2f}" if budget.training_images else "-"
        known = not math.isnan(budget.passes)
        passes = (str(budget.passes), f"{budget.images * budget.passes:,}") if known else ("-", "-")
        rows.append((one.label, seeds, f"{budget.steps:,}", f"{budget.images:,}", times, *passes))
    return rows


def _interval(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{low:+.2f} to {high:+.2f}"


def _p(value: float) -> str:
    return "-" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _escaped(cell: str) -> str:
    """Text that Markdown shows as it is, in one cell."""
    for letter in "\\`*_[]<>|#":
        cell = cell.replace(letter, f"\\{letter}") if letter not in "<>" else cell.replace(letter, html.escape(letter))
    return " ".join(cell.split())


def _row(tag: str, cells: Sequence[str], left: int) -> str:
    kinds = [' class="word"' if place < left else "" for place in range(len(cells))]
    inner = (f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))
    return f"<tr>{''.join(inner)}</tr>"
