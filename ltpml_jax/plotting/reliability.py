"""Whether scores are probabilities: of the test entries with a score near p, a share p should be present."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from scipy.special import expit
from sklearn.calibration import calibration_curve

from ltpml_jax.data.labels import LabelState
from ltpml_jax.plotting import canvas
from ltpml_jax.plotting.canvas import GROUP_COLOURS, Plot

BINS = 10


class Reliability(NamedTuple):
    """Scores in BINS bins of equal width: entries int64 [BINS]; score and present float64 [BINS], the means of scores
    and of labels, NaN in an empty bin; Brier score (mean squared error) and ECE (mean of |score - present| over
    entries), NaN without entries.
    """

    entries: np.ndarray
    score: np.ndarray
    present: np.ndarray
    brier: float
    ece: float


def reliability(score: np.ndarray, present: np.ndarray) -> Reliability:
    """Of scores float [n] in [0, 1] and labels bool [n]."""
    edges = np.linspace(0, 1, BINS + 1)
    place = np.searchsorted(edges[1:-1], score)  # as calibration_curve has it: a bin holds its upper end
    entries = np.bincount(place, minlength=BINS)
    share, mean = np.full(BINS, np.nan), np.full(BINS, np.nan)
    if not len(score):
        return Reliability(entries, mean, share, float("nan"), float("nan"))
    share[entries > 0], mean[entries > 0] = calibration_curve(present, score, n_bins=BINS)
    gaps = np.abs(share - mean)[entries > 0]
    brier = float(np.mean((score - present) ** 2))
    return Reliability(entries, mean, share, brier, float(gaps @ entries[entries > 0] / len(score)))


def by_group(logits: np.ndarray, states: np.ndarray, groups: Mapping[str, np.ndarray]) -> dict[str, Reliability]:
    """Reliability of each group's known test labels; logits [n, C], NaN left out; states [n, C] of LabelState."""
    score = expit(np.asarray(logits, np.float64))
    known = np.isfinite(score) & (states <= LabelState.POSITIVE)
    return {
        name: reliability(score[:, mask][known[:, mask]], states[:, mask][known[:, mask]] == LabelState.POSITIVE)
        for name, mask in groups.items()
    }


def plot(name: str, title: str, found: Mapping[str, Reliability]) -> Plot:
    """A reliability diagram for each group, with the number of entries in each bin below it."""
    figure = canvas.blank(9, 4.4)
    grid = figure.subplots(2, len(found), height_ratios=(3, 1), squeeze=False)
    most = max(int(one.entries.max()) for one in found.values())
    for (above, below), (group, one) in zip(grid.T, found.items(), strict=True):
        above.set_title(
            f"{group}: Brier {one.brier:.3f}, ECE {one.ece:.3f}" if one.entries.any() else group, fontsize=9
        )
        if one.entries.any():
            _diagram(above, one, GROUP_COLOURS[group])
            _counts(below, one, GROUP_COLOURS[group], most)
        else:
            canvas.say(above, "no class of this group\nhas a test label")
            below.set_axis_off()
    grid[0, 0].set_ylabel("share present", fontsize=8)
    grid[1, 0].set_ylabel("entries", fontsize=8)
    figure.suptitle(f"Are scores probabilities? On the dotted line they are. {canvas.short(title, 50)}", fontsize=10)
    return Plot(name, figure, canvas.joined(_table(group, one) for group, one in found.items()))


def _diagram(axes: Axes, one: Reliability, colour: str) -> None:
    canvas.tidy(axes)
    axes.plot([0, 1], [0, 1], ":", color="black", linewidth=1)
    axes.plot(one.score, one.present, "o-", color=colour, markersize=5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xticks(np.linspace(0, 1, 6))


def _counts(axes: Axes, one: Reliability, colour: str, most: int) -> None:
    canvas.tidy(axes)
    edges = np.linspace(0, 1, BINS + 1)
    axes.bar(edges[:-1], one.entries, width=1 / BINS, align="edge", color=colour, edgecolor="white")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, most * 3)
    powers = [10**power for power in range(0, 12, 2 if most >= 1000 else 1) if 10**power <= most * 3]
    axes.set_yticks([0, *powers], [f"{tick:,}" for tick in (0, *powers)])
    axes.minorticks_off()
    axes.set_xlim(-0.02, 1.02)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_xlabel("score", fontsize=8)


def _table(group: str, one: Reliability) -> dict[str, list]:
    edges = np.linspace(0, 1, BINS + 1)
    return {
        "group": [group] * BINS,
        "from": edges[:-1].tolist(),
        "to": edges[1:].tolist(),
        "entries": one.entries.tolist(),
        "score": one.score.tolist(),
        "present": one.present.tolist(),
        "brier": [one.brier] * BINS,
        "ece": [one.ece] * BINS,
    }
