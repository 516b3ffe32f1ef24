"""Where the text of a figure is, once it is drawn."""

from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

SLACK = 1.0  # pixels that boxes may share: fonts are hinted


def texts(figure: Figure) -> dict[str, tuple[float, float, float, float]]:
    """(left, bottom, right, top) in pixels of every text that is seen, by what it says and a number."""
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    unseen, found = hidden(figure), {}
    for number, text in enumerate(figure.findobj(Text)):
        if text.get_text().strip() and text.get_visible() and id(text) not in unseen:
            box = text.get_window_extent(canvas.get_renderer())
            found[f"{text.get_text()!r} {number}"] = tuple(float(side) for side in box.extents)
    return found


def hidden(figure: Figure) -> set[int]:
    """Identities of the texts that are not drawn: of axes that are off, and labels of ticks beyond an axis."""
    found = set()
    for axes in figure.findobj(Axes):
        off = not (axes.get_visible() and axes.axison)
        for axis, ends in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            beyond = [tick for tick in ticks if off or not min(ends) <= tick.get_loc() <= max(ends)]
            found |= {id(label) for tick in beyond for label in (tick.label1, tick.label2)}
        if off:
            found |= {id(text) for text in axes.findobj(Text) if text not in axes.texts}
        if not axes.get_visible():
            found |= {id(text) for text in axes.texts}
    return found


def problems(figure: Figure) -> list[str]:
    """Pairs of texts that cover each other, and texts that the figure's edge cuts."""
    boxes = texts(figure)
    width, height = figure.canvas.get_width_height()
    cut = [
        f"{name} is cut: {box}, of {width} x {height}"
        for name, box in boxes.items()
        if min(box[:2]) < -SLACK or box[2] > width + SLACK or box[3] > height + SLACK
    ]
    pairs = [
        f"{one} covers {other}"
        for (one, a), (other, b) in combinations(boxes.items(), 2)
        if min(a[2], b[2]) - max(a[0], b[0]) > SLACK and min(a[3], b[3]) - max(a[1], b[1]) > SLACK
    ]
    return cut + pairs
