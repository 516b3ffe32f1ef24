"""What all plots share: figures without a display, colours, labels that stay readable, a table beside each figure.

Figures are made without pyplot, so that no state is shared and nothing waits for a window. The colours are those of
Okabe and Ito, which remain distinct under the common kinds of colour blindness.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ltpml_jax.runtime.files import csv_line

GROUP_COLOURS = {"head": "#0072B2", "medium": "#E69F00", "tail": "#CC79A7"}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")
MARKERS = "os^Dv*P<X>ph"
MOST_RUNS = 12  # that a legend names
MOST_NAMES = 40  # classes that an axis names
DOTS = 150  # an inch


class Plot(NamedTuple):
    """A figure and the numbers in it: name of its files; columns by name, of one length, text and numbers."""

    name: str
    figure: Figure
    columns: dict[str, list[Any]]


def blank(width: float, height: float) -> Figure:
    """A figure of so many inches, whose parts make room for one another."""
    return Figure(figsize=(width, height), dpi=DOTS, layout="constrained")


def short(text: str, letters: int = 24) -> str:
    """Text for a label: on one line, cut to so many letters, no letter taken for mathematics."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(line.split())
    return (line if len(line) <= letters else line[: letters - 1] + "…").replace("$", r"\$")


def run_style(number: int) -> dict[str, Any]:
    """Colour and dashes of the run with this number, different for the first 24."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": STYLES[number // len(COLOURS) % len(STYLES)]}


def legend(figure: Figure | SubFigure, handles: Sequence[Any], columns: int) -> None:
    """A legend below the figure, so that it covers nothing; none for no handles."""
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def say(axes: Axes, text: str) -> None:
    """Write in the middle of axes that there is nothing to see, and why."""
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, fontsize=9, color="#555555")
    axes.set_xticks([])
    axes.set_yticks([])


def count_axis(axes: Axes, counts: np.ndarray) -> None:
    """A logarithmic x axis for counts >= 0 [C], linear below 1, with few whole numbers on it."""
    finite = counts[np.isfinite(counts)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (1.0, 1.0)
    room = 1.5 if high > 10 * low else 4  # so that there are ticks on both sides of a single count
    low, high = low / room, max(high, 1.0) * room
    powers = [10.0**power for power in range(10)]
    ticks = powers if high / max(low, 1) > 1000 else sorted(step * power for power in powers for step in (1, 2, 5))
    axes.set_xscale("symlog", linthresh=1, linscale=0.3)
    axes.set_xlim(-0.2 if low < 1 else low, high)
    axes.xaxis.set_major_locator(FixedLocator([0.0, *ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def tidy(axes: Axes) -> None:
    """A light grid behind the marks, and no box around them."""
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def save(plot: Plot, folder: Path, kind: str) -> list[str]:
    """Write NAME.KIND, png or svg, and NAME.csv; returns their names. Equal plots give equal bytes."""
    path = folder / f"{plot.name}.{kind}"
    fixed = {"Date": None} if kind == "svg" else {}
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": plot.name}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a script that the font does not have
        _fix_places(plot.figure)
        plot.figure.savefig(path, format=kind, dpi="figure", metadata=fixed)
    with (folder / f"{plot.name}.csv").open("w", encoding="utf-8", newline="") as file:
        rows = zip(*(map(_cell, column) for column in plot.columns.values()), strict=True)
        file.writelines(map(csv_line, [plot.columns, *rows]))
    return [path.name, f"{plot.name}.csv"]


def _fix_places(figure: Figure) -> None:
    """Leave axes where the layout puts them, to the sixth digit: further ones differ between equal calls."""
    engine = figure.get_layout_engine()
    assert engine is not None  # blank() gave it one
    engine.execute(figure)
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(np.round(axes.get_position(original=True).bounds, 6).tolist())


def _cell(value: Any) -> Any:
    if not isinstance(value, float | np.floating):
        return value
    return f"{value:.6g}" if np.isfinite(value) else ""


def joined(parts: Iterable[Mapping[str, Sequence[Any]]]) -> dict[str, list[Any]]:
    """Tables of the same columns below one another."""
    found: dict[str, list[Any]] = {}
    for part in parts:
        for name, values in part.items():
            found.setdefault(name, []).extend(values)
    return found


def group_names(groups: Mapping[str, np.ndarray], classes: int) -> list[str]:
    """The group of each class by name, "" for a class of none."""
    return [next((name for name, mask in groups.items() if mask[j]), "") for j in range(classes)]
