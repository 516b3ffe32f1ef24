"""What a run recorded at the end of each epoch: loss, validation, and the quality of its corrected labels."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ltpml_jax.data.json_form import number
from ltpml_jax.plotting import canvas
from ltpml_jax.plotting.canvas import MOST_RUNS, Plot


class Panel(NamedTuple):
    """One panel: its title with the unit, and its series by the field of metrics.jsonl, each with a name."""

    title: str
    series: dict[str, str]


PANELS = (
    Panel("Training loss, mean of the epoch", {"epoch_loss": ""}),
    Panel("mAP on held-out candidates, %", {"validation_mAP": ""}),
    Panel(
        "Candidates ranked by soft label: AP, %",
        {"soft_label_x_size_AP": "soft label x set size", "soft_label_AP": "soft label"},
    ),
    Panel("Unknown labels ranked by soft label: AP, %", {"soft_label_unknown_AP": ""}),
    Panel(
        "Hard labels of training images, %",
        {"hard_label_precision": "precision", "hard_label_recall": "recall"},
    ),
)
FIELDS = tuple(field for panel in PANELS for field in panel.series)
_MARKED = 30  # epochs up to which each has a mark of its own


def epochs(lines: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """`epoch` from 1 on and FIELDS as float64 [E] of the records in metrics.jsonl; NaN where there is no number."""
    ends = [line for line in lines if "epoch_loss" in line]
    found = {"epoch": np.array([line["epoch"] + 1 for line in ends], np.float64)}
    for field in FIELDS:
        found[field] = np.array([line[field] if number(line.get(field)) else np.nan for line in ends], np.float64)
    return found


def plot(runs: Mapping[str, Mapping[str, np.ndarray]]) -> Plot:
    """Curves of all runs, by run what `epochs` gives; a panel for which no run has a number is left out."""
    shown = [panel for panel in PANELS if panel is PANELS[0] or _any(panel, runs)]
    rows = -(-len(shown) // 2)
    figure = canvas.blank(9 if len(shown) > 1 else 7, 2.9 * rows + 0.6)
    draw(figure, runs, shown)
    title = canvas.short(next(iter(runs)), 60) if len(runs) == 1 else f"{len(runs)} runs"
    figure.suptitle(f"What was recorded at the end of each epoch: {title}", fontsize=10)
    named = list(runs) if 1 < len(runs) <= MOST_RUNS else []
    canvas.legend(
        figure, [Line2D([], [], label=canvas.short(run, 32), **canvas.run_style(i)) for i, run in enumerate(named)], 3
    )
    columns = canvas.joined(
        {"run": [run] * len(found["epoch"]), "epoch": [int(epoch) for epoch in found["epoch"]]}
        | {field: found[field].tolist() for field in FIELDS}
        for run, found in runs.items()
    )
    return Plot("curves", figure, columns)


def draw(
    figure: Figure | SubFigure, runs: Mapping[str, Mapping[str, np.ndarray]], panels: Sequence[Panel], across: int = 2
) -> None:
    """Draw panels, so many beside each other; each run has a colour, a panel's second series is thin."""
    across = min(across, len(panels))
    grid = figure.subplots(-(-len(panels) // across), across, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        canvas.tidy(axes)
        axes.set_title("\n".join([panel.title, *_named(panel)]), fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.set_xlim(0.5, max([1, *(epoch for found in runs.values() for epoch in found["epoch"])]) + 0.5)
        for place, found in enumerate(runs.values()):
            _lines(axes, panel, found, canvas.run_style(place))
    if all(not len(found["epoch"]) for found in runs.values()):
        canvas.say(grid.flat[0], "no epoch was finished")


def _lines(axes: Axes, panel: Panel, found: Mapping[str, np.ndarray], style: Mapping[str, Any]) -> None:
    marker = "o" if len(found["epoch"]) <= _MARKED else ""
    for thin, field in enumerate(panel.series):
        form = {
            "linewidth": 1 if thin else 1.8,
            "alpha": 0.65 if thin else 1,
            "marker": "v" if thin and marker else marker,
        }
        axes.plot(found["epoch"], found[field], markersize=3.5, **form, **style)


def _named(panel: Panel) -> list[str]:
    names = list(panel.series.values())
    return [f"thick: {names[0]}, thin: {names[1]}"] if len(names) > 1 else []


def _any(panel: Panel, runs: Mapping[str, Mapping[str, np.ndarray]]) -> bool:
    return any(np.isfinite(found[field]).any() for found in runs.values() for field in panel.series)
