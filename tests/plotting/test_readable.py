"""Every plot can be read: no text covers another or is cut, at one class and a thousand, and with empty groups."""

import csv
import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from ltpml_jax.plotting import canvas
from tests.helpers import boxes, drawn

HOSTILE = "{} $x_$ <b>\n" + "long " * 60
ALL, SHARED = 6, 2  # plots; the first two are of several runs, the others of one
CASES = {
    "an ordinary run": {"classes": 20},
    "one class, one epoch": {"classes": 1, "epochs": 1},
    "two classes": {"classes": 2},
    "an axis full of names": {"classes": canvas.MOST_NAMES, "runs": 2},
    "a thousand classes": {"classes": 1000, "name": "c{}", "runs": 3, "epochs": 100},
    "only tail": {"classes": 12, "most": 15},
    "no epoch": {"classes": 3, "epochs": 0},
    "many runs": {"classes": 5, "runs": canvas.MOST_RUNS, "plots": SHARED},
    "more runs than a legend names": {"classes": 5, "runs": canvas.MOST_RUNS + 1, "plots": SHARED},
    "hostile names": {"classes": 8, "name": HOSTILE, "shared": False},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_no_text_covers_another_or_is_cut(case):
    made = drawn.made(**{name: value for name, value in case.items() if name in ("classes", "most", "name")})
    others = {name: value for name, value in case.items() if name in ("runs", "epochs", "shared")}
    plots = itertools.islice(drawn.plots(made, **others), case.get("plots", ALL))
    found = {plot.name: boxes.problems(plot.figure) for plot in plots}
    assert len(found) == case.get("plots", ALL)
    assert [f"{name}: {problem}" for name, problems in found.items() for problem in problems] == []


def test_the_check_would_see_it():
    figure = Figure()
    axes = figure.subplots()
    for place in (0.5, 0.51):
        axes.text(place, 0.5, "covered")
    axes.text(1.1, 0.5, "cut off at the edge")
    found = boxes.problems(figure)
    assert len(found) == 2 and any("covers" in one for one in found) and any("is cut" in one for one in found)


def test_labels_are_short_and_plain():
    assert canvas.short("a\tb\n c\u202e\x00") == "a b c"
    assert canvas.short("x" * 30, 10) == "x" * 9 + "…"
    assert canvas.short("$x$") == r"\$x\$"


def test_runs_that_a_legend_names_look_different():
    styles = {tuple(canvas.run_style(number).items()) for number in range(canvas.MOST_RUNS)}
    assert len(styles) == len(set(canvas.MARKERS)) == canvas.MOST_RUNS


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_equal_plots_give_equal_files(tmp_path, kind):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        plots = drawn.plots(drawn.made(3), seed=3)  # with a layout whose last bits differ between calls
        for plot in itertools.islice(plots, 0, ALL, 5):
            canvas.save(plot, tmp_path / folder, kind)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(f"{name}.{ending}" for name in ("ap_by_frequency", "beliefs") for ending in ("csv", kind))
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_names_of_any_script_are_drawn_without_a_warning(tmp_path):
    """The font may not have them; the .csv does."""
    names = ["猫", "كلب", "😀", "a,b", 'say "x"']
    for plot in drawn.plots(drawn.made(5)._replace(names=names)):
        canvas.save(plot, tmp_path, "png")
    with (tmp_path / "distribution.csv").open(encoding="utf-8", newline="") as file:
        assert {row["class"] for row in csv.DictReader(file)} == set(names)


def test_undefined_numbers_are_empty_cells(tmp_path):
    figure = canvas.blank(3, 2)
    figure.subplots()
    plot = canvas.Plot("x", figure, {"a": [1, np.float64("nan")], "b": ["y", 1 / 3], "c": [np.inf, 2.0]})
    assert canvas.save(plot, tmp_path, "png") == ["x.png", "x.csv"]
    assert (tmp_path / "x.csv").read_text() == "a,b,c\n1,y,\n,0.333333,2\n"
