"""What a layout of golden files is: how a file of it is recognised, and what is computed to compare with it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Golden = dict[str, np.ndarray]


class Check(NamedTuple):
    """One array of a file, what the package computes for it, and how far apart they may be."""

    name: str
    got: Any
    tolerance: float


class Layout(NamedTuple):
    """A kind of golden file.

    matches: whether a file (by its arrays) is of this layout. inputs: whether an array, by name, is given to the
    computation; all others must be compared. replay: the comparisons.
    """

    matches: Callable[[Golden], bool]
    inputs: Callable[[str], bool]
    replay: Callable[[Golden], list[Check]]


def deviation(got: Any, want: np.ndarray) -> float:
    """Largest deviation relative to the largest entry; integers and booleans deviate by 0 or infinity.

    NaNs must stand in the same places; shapes that differ deviate by infinity, and so does what is not finite.
    """
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        return float("inf")
    if want.dtype.kind in "biu":
        return 0.0 if (got == want).all() else float("inf")
    got, want = got.astype(np.float64), want.astype(np.float64)
    defined = ~np.isnan(want)
    if (np.isnan(got) == defined).any() or not np.isfinite(got[defined]).all():
        return float("inf")
    scale = np.abs(want[defined]).max(initial=0) + 1e-300
    return float((np.abs(got - want)[defined] / scale).max(initial=0))


def compare(layout: Layout, gold: Golden) -> list[tuple[str, float, float]]:
    """(array, deviation, tolerance) of all of a file's outputs.

    Raises ValueError for an output that nothing here computes, and for a file without outputs.
    """
    checks = [check for check in layout.replay(gold) if check.name in gold]
    missing = [name for name in gold if not layout.inputs(name) and name not in {check.name for check in checks}]
    if missing:
        raise ValueError(f"nothing here computes its {', '.join(missing)}")
    if not checks:
        raise ValueError("it has no output to compare with")
    return [(check.name, deviation(check.got, gold[check.name]), check.tolerance) for check in checks]
