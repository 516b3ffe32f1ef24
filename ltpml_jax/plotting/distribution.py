"""How frequent the classes are: what a run estimates, beside what its labels say and, where it is known, the truth."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ltpml_jax.plotting import canvas
from ltpml_jax.plotting.canvas import COLOURS, GROUP_COLOURS, MARKERS, MOST_NAMES, Plot

_STEPS = (0.001, 0.01, 0.1, 1, 10, 100)  # percent, on the axis


def plot(
    name: str,
    title: str,
    class_names: Sequence[str],
    groups: Mapping[str, np.ndarray],
    shares: Mapping[str, np.ndarray],
) -> Plot:
    """Shares of images by class, a mark for each series; classes by group, in each by the first series, descending.

    Args:
        name: of the files.
        title: of the run.
        class_names: C names.
        groups: masks bool [C] by name.
        shares: percent of images float [C] by what it is, the one that orders the classes first; NaN has no mark.
    """
    first = np.nan_to_num(next(iter(shares.values())), nan=-1.0)
    order = np.concatenate([np.flatnonzero(mask)[np.argsort(-first[mask], kind="stable")] for mask in groups.values()])
    figure = canvas.blank(float(np.clip(0.32 * len(order), 7, 14)), 5)
    axes = figure.subplots()
    lowest = draw(axes, {what: np.asarray(values, np.float64)[order] for what, values in shares.items()})
    ends = np.cumsum([mask.sum() for mask in groups.values()]).tolist()
    mark_groups(axes, dict(zip(groups, ends, strict=True)))
    names = [class_names[int(j)] for j in order]
    name_classes(axes, names)
    axes.set_ylabel("share of images, %" + (" (0 lies on the axis)" if lowest else ""))
    figure.suptitle(f"How frequent classes are, and are held to be: {canvas.short(title, 50)}", fontsize=10)
    canvas.legend(figure, axes.get_legend_handles_labels()[0], 3)
    members = canvas.group_names(groups, len(class_names))
    columns = {"class": names, "group": [members[j] for j in order]}
    return Plot(name, figure, columns | {what: np.asarray(values)[order].tolist() for what, values in shares.items()})


def draw(axes: Axes, shares: Mapping[str, np.ndarray]) -> bool:
    """Marks of each series [C] on a logarithmic scale; returns whether some were 0 and lie on the axis instead."""
    canvas.tidy(axes)
    axes.grid(visible=False, axis="x")
    values = np.array(list(shares.values()))
    above = values[np.isfinite(values) & (values > 0)]
    floor = float(above.min()) / 2 if len(above) else 0.01
    for number, (what, series) in enumerate(shares.items()):
        shown = np.where(series > 0, series, np.where(np.isnan(series), np.nan, floor))
        small = len(series) > MOST_NAMES
        style = {
            "markersize": 3 if small else 6,
            "alpha": 0.6 if small else 0.85,
            "markeredgewidth": 0,
            "clip_on": False,
        }
        axes.plot(shown, MARKERS[number % len(MARKERS)], color=COLOURS[number % len(COLOURS)], label=what, **style)
    axes.set_yscale("log")
    axes.set_ylim(floor, max(float(above.max()) if len(above) else 1, floor * 20) * 1.5)
    ticks = [step for step in _STEPS if axes.get_ylim()[0] <= step <= axes.get_ylim()[1]]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return bool((values <= 0).any())


def mark_groups(axes: Axes, ends: Mapping[str, int]) -> None:
    """Bands from group to group, whose last class is before the number, with their names where they have room."""
    start, total = 0, max([*ends.values(), 1])
    for name, end in ends.items():
        if end > start:
            axes.axvspan(start - 0.5, end - 0.5, color=GROUP_COLOURS[name], alpha=0.1, linewidth=0)
            if (end - start) / total > 0.08:
                middle = ((start + end) / 2 - 0.5, 1.0)
                axes.annotate(
                    name, middle, (0, 2), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
                    ha="center", va="bottom", fontsize=8,
                )  # fmt: skip
        start = end
    axes.set_xlim(-0.5, total - 0.5)


def name_classes(axes: Axes, class_names: Sequence[str]) -> None:
    """Names of the classes below the axis where they have room, else that they are ordered."""
    if len(class_names) <= MOST_NAMES:
        axes.set_xticks(range(len(class_names)), [canvas.short(name) for name in class_names], rotation=90)
        return
    axes.set_xticks([])
    axes.set_xlabel(f"{len(class_names)} classes, in each group the most frequent first (names in the .csv)")
