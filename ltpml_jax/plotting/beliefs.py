"""What a run has come to believe of some training images: each with its candidate labels, the surest first."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from ltpml_jax.plotting import canvas
from ltpml_jax.plotting.canvas import Plot

TRUE, FALSE, UNKNOWN = "#0072B2", "#b8b8b8", "#E69F00"
IMAGES = 6
_ACROSS = 3
_MOST = 12  # candidates of an image that are shown


class Shown(NamedTuple):
    """A training image: id; pixels uint8 [H, W, 3]; its candidates' names, beliefs float [k] and whether each is true.

    true: bool [k], None where that is not known; size: of its candidate set, of which these may be a part.
    """

    id: str
    pixels: np.ndarray
    names: tuple[str, ...]
    belief: np.ndarray
    true: np.ndarray | None
    size: int


def choose(listed: np.ndarray, truth: np.ndarray | None) -> np.ndarray:
    """Up to IMAGES rows of images with several candidates, spread evenly, int64; with 2 or 3 true labels if there are.

    listed bool [N, C]: the candidate sets; truth bool [N, C], None where it is not known.
    """
    several = listed.sum(1) >= 2
    rows = np.flatnonzero(several)
    if truth is not None:
        present = truth.sum(1)
        rows = np.flatnonzero(several & (present >= 2) & (present <= 3)) if several.any() else rows
        rows = rows if len(rows) else np.flatnonzero(several)
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(IMAGES, len(rows))).astype(int))] if len(rows) else rows


def shown(
    id: str, pixels: np.ndarray, class_names: Sequence[str], belief: np.ndarray, listed: np.ndarray, truth=None
) -> Shown:
    """One image with its surest candidates; belief float [C], listed bool [C], truth bool [C] or None."""
    columns = np.flatnonzero(listed)
    columns = columns[np.argsort(-belief[columns], kind="stable")][:_MOST]
    true = None if truth is None else truth[columns]
    return Shown(id, pixels, tuple(class_names[int(j)] for j in columns), belief[columns], true, int(listed.sum()))


def plot(name: str, title: str, images: Sequence[Shown], shared: bool) -> Plot:
    """The images with their candidates; `shared` where soft labels add up to 1 over an image's set."""
    rows = -(-len(images) // _ACROSS)
    figure = canvas.blank(max(4.2 * min(len(images), _ACROSS), 6) + 0.2, 2.7 * rows + 0.6)
    draw(figure, images, shared, f" of {canvas.short(title, 50)}")
    columns = canvas.joined(
        {
            "id": [one.id] * len(one.names),
            "class": list(one.names),
            "belief": np.asarray(one.belief, np.float64).tolist(),
            "true": [""] * len(one.names) if one.true is None else [int(value) for value in one.true],
            "candidates": [one.size] * len(one.names),
        }
        for one in images
    )
    return Plot(name, figure, columns)


def draw(figure: Figure | SubFigure, images: Sequence[Shown], shared: bool, title: str = "") -> None:
    """Draw the images, three beside each other, with a title that explains the colours."""
    across = min(len(images), _ACROSS)
    rows = -(-len(images) // across)
    grid = figure.subplots(rows, 2 * across, width_ratios=(1, 1.1) * across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, one in enumerate(images):
        row, column = divmod(place, across)
        grid[row, 2 * column].imshow(one.pixels)
        bars = grid[row, 2 * column + 1]
        bars.set_axis_on()
        draw_bars(bars, one, shared)
        if place + across >= len(images):
            bars.set_xlabel("soft label", fontsize=8)
    known = any(one.true is not None for one in images)
    colours = "blue is true, grey is not" if known else "which are true is not known"
    line = "; dotted: where training began" if shared else ""
    figure.suptitle(f"Belief in candidate labels{title}\n{colours}{line}", fontsize=10)


def draw_bars(axes: Axes, one: Shown, shared: bool) -> None:
    """The candidates of one image, the surest on top."""
    places = np.arange(len(one.names))[::-1]
    colours = UNKNOWN if one.true is None else [TRUE if value else FALSE for value in one.true]
    axes.barh(places, one.belief, color=colours)
    axes.set_yticks(places, [canvas.short(name.replace("_", " "), 18) for name in one.names])
    start = 1 / one.size
    if shared:
        axes.axvline(start, color="black", linewidth=0.9, linestyle=":")
    top = max(2 * start, 1.1 * float(one.belief.max())) if shared else 1.0
    axes.set_xlim(0, min(top, 1))
    axes.locator_params(axis="x", nbins=4)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    if len(one.names) < one.size:
        axes.set_title(f"{len(one.names)} surest of {one.size}", fontsize=7, loc="right")
