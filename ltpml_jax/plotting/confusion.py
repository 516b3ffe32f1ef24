"""Which classes are taken for others: how often k is predicted for images that have j, but not k."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from ltpml_jax.data.labels import LabelState
from ltpml_jax.plotting import canvas
from ltpml_jax.plotting.canvas import MOST_NAMES, Plot


def confusion(predicted: np.ndarray, states: np.ndarray) -> np.ndarray:
    """P(predicted k | j present, k absent), float64 [C (j), C (k)]; NaN where no image is like that, as for j = k.

    predicted bool [n, C]; states [n, C] of LabelState, of which only the known ones count.
    """
    present = (states == LabelState.POSITIVE).astype(np.float64)
    absent = states == LabelState.NEGATIVE
    cases, hits = present.T @ absent, present.T @ (predicted & absent)
    return np.where(cases > 0, hits / np.maximum(cases, 1), np.nan)


def by_occurrence(states: np.ndarray) -> np.ndarray:
    """An order of the classes, int64 [C], in which those that occur together are near each other.

    The leaves of average linkage by Jaccard distance: 1 - images with both / images with either.
    """
    present = (states == LabelState.POSITIVE).astype(np.float64)
    if present.shape[1] < 2:
        return np.arange(present.shape[1])
    both, each = present.T @ present, present.sum(0)
    either = each[:, None] + each[None] - both
    distance = 1 - both / np.maximum(either, 1)
    np.fill_diagonal(distance, 0)
    return leaves_list(linkage(squareform(distance, checks=False), "average")).astype(np.int64)


def plot(
    name: str, title: str, class_names: Sequence[str], predicted: np.ndarray, states: np.ndarray, threshold: str
) -> Plot:
    """The confusion of test images as a map, classes ordered by occurrence.

    Args:
        name: of the files.
        title: of the run.
        class_names: C names.
        predicted: bool [n, C], the classes that the run finds in n test images.
        states: int8 [n, C] of LabelState.
        threshold: of `predicted`, in words.
    """
    order = by_occurrence(states)
    table = confusion(predicted, states)[np.ix_(order, order)]
    names = [class_names[int(j)] for j in order]
    side = float(np.clip(2.6 + 0.22 * len(names), 5, 9))
    figure = canvas.blank(side + 1, side)
    axes = figure.subplots()
    draw(figure, axes, table)
    _label(axes, names)
    figure.suptitle(
        f"What is predicted for images that have another class\n{canvas.short(title, 36)}; {threshold}", fontsize=10
    )
    images = (states == LabelState.POSITIVE).sum(0)[order].tolist()
    columns = {"present": names, "images": images}
    return Plot(name, figure, columns | {f"predicted:{one}": table[:, k].tolist() for k, one in enumerate(names)})


def draw(figure: Figure, axes: Axes, table: np.ndarray) -> None:
    """The map of a table [C, C] of shares, grey where it is NaN, with its scale."""
    axes.set_facecolor("#d9d9d9")
    known, many = table[np.isfinite(table)], len(table) > MOST_NAMES
    top = float(np.quantile(known, 0.999 if many else 1)) if len(known) else 0.0
    blend = None if many else "nearest"
    shown = axes.imshow(100 * table, cmap="cividis", vmin=0, vmax=100 * (top or 1), interpolation=blend)
    scale = figure.colorbar(shown, ax=axes, shrink=0.7, extend="max" if many else "neither")
    scale.set_label("images for which it is predicted, %", fontsize=8)
    scale.ax.tick_params(labelsize=8)
    if not len(known):
        nothing = "no test image has a class\nand lacks another"
        axes.text(0.5, 0.5, nothing, ha="center", transform=axes.transAxes, fontsize=9)


def _label(axes: Axes, names: Sequence[str]) -> None:
    axes.set_xlabel("predicted, though it is absent", fontsize=8)
    axes.set_ylabel("present", fontsize=8)
    if len(names) <= MOST_NAMES:
        labels = [canvas.short(name, 20) for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), labels, fontsize=7)
        return
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(
        f"predicted, though it is absent ({len(names)} classes, by occurrence; names in the .csv)", fontsize=8
    )
