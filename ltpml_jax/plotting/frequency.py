"""Average precision of every class over how often the class is in training: what long tails are about."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from ltpml_jax.plotting import canvas
from ltpml_jax.plotting.canvas import GROUP_COLOURS, MARKERS, MOST_RUNS, Plot

MANY = 2000  # marks from which an svg holds them as pixels


def plot(
    class_names: Sequence[str],
    groups: Mapping[str, np.ndarray],
    counts: np.ndarray,
    counts_are: str,
    precision: Mapping[str, np.ndarray],
) -> Plot:
    """AP of the classes of all runs over their counts, coloured by group, a mark's shape by run.

    Args:
        class_names: C names.
        groups: masks bool [C] by name.
        counts: training images with the class, float [C]; what is below 0 counts as 0.
        counts_are: "true" or "estimated", for the axis.
        precision: AP in percent float [C] by run, NaN for a class without test positives.
    """
    counts = np.maximum(np.asarray(counts, np.float64), 0)
    figure = canvas.blank(8, 5)
    axes = figure.subplots()
    draw(axes, groups, counts, precision)
    means = group_means(groups, precision)
    for name, value in means.items():
        _mean_line(axes, counts[groups[name]], value, GROUP_COLOURS[name])
    _label(axes, counts, counts_are, precision)
    runs = list(precision) if 1 < len(precision) <= MOST_RUNS else []
    canvas.legend(figure, _handles(means, groups, runs), 3)
    columns = {
        "run": [run for run in precision for _ in class_names],
        "class": [*class_names] * len(precision),
        "group": canvas.group_names(groups, len(class_names)) * len(precision),
        "count": counts.tolist() * len(precision),
        "ap": [value for values in precision.values() for value in np.asarray(values, np.float64).tolist()],
    }
    return Plot("ap_by_frequency", figure, columns)


def draw(axes: Axes, groups: Mapping[str, np.ndarray], counts: np.ndarray, precision: Mapping[str, np.ndarray]) -> None:
    """A mark for each class of each run; arguments as of `plot`."""
    many = len(precision) * len(counts) > MANY
    for number, values in enumerate(precision.values()):
        for name, mask in groups.items():
            style = {"color": GROUP_COLOURS[name], "marker": MARKERS[number % len(MARKERS)], "rasterized": many}
            axes.scatter(counts[mask], values[mask], s=10 if many else 28, alpha=0.75, linewidths=0, **style)


def group_means(groups: Mapping[str, np.ndarray], precision: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Mean over runs of the mean AP of each group, in percent; NaN for a group without any AP."""
    table = np.array(list(precision.values()), np.float64)
    means = {}
    for name, mask in groups.items():
        known = np.isfinite(table[:, mask])
        rows = [row[seen].mean() for row, seen in zip(table[:, mask], known, strict=True) if seen.any()]
        means[name] = float(np.mean(rows)) if rows else float("nan")
    return means


def _mean_line(axes: Axes, counts: np.ndarray, mean: float, colour: str) -> None:
    if np.isfinite(mean):
        ends = [counts.min() / 1.2, counts.max() * 1.2]
        outline = [withStroke(linewidth=3.5, foreground="white")]  # seen among thousands of marks
        axes.plot(ends, [mean, mean], color=colour, linewidth=1.5, linestyle="--", path_effects=outline)


def _label(axes: Axes, counts: np.ndarray, counts_are: str, precision: Mapping[str, np.ndarray]) -> None:
    canvas.tidy(axes)
    canvas.count_axis(axes, counts)
    table = np.array(list(precision.values()), np.float64)
    top = float(np.nanmax(table)) if np.isfinite(table).any() else 100.0
    axes.set_ylim(-2, max(20, 20 * np.ceil(top / 20)) + 2)
    axes.set_xlabel(f"training images with the class ({counts_are})")
    axes.set_ylabel("test average precision, %")
    without = int(np.isnan(table).all(0).sum())
    title = f"How well {len(precision)} runs find" if len(precision) > 1 else "How well the run finds"
    left_out = f"; no mark: {without} of {len(counts)} classes, without test positives" if without else ""
    axes.set_title(f"{title} classes, by how frequent they are\ndashed: mean of the group{left_out}", fontsize=10)


def _handles(means: Mapping[str, float], groups: Mapping[str, np.ndarray], runs: Sequence[str]) -> list[Artist]:
    found: list[Artist] = []
    for name, mean in means.items():
        size = int(groups[name].sum())
        what = f"mean {mean:.1f} %" if np.isfinite(mean) else "no AP"
        label = f"{name}: {size} {'class' if size == 1 else 'classes'}" + (f", {what}" if size else "")
        found.append(Patch(color=GROUP_COLOURS[name], label=label))
    for number, run in enumerate(runs):
        marker = MARKERS[number % len(MARKERS)]
        found.append(Line2D([], [], color="#555555", linestyle="", marker=marker, label=canvas.short(run, 32)))
    return found
