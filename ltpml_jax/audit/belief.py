"""How likely a class is to be present in an image, comparable across images, found without any true label.

Soft labels that are shared out over a candidate set say nothing of other images: in a set of two 0.5 is no evidence,
in a set of ten it is much. `set_odds` takes the set's size out: x = soft label * size is the odds against the start,
and x / (x + 1) lies between 0 and 1, at one half where training changed nothing.

Scores are calibrated by the labels themselves. How a label came to be wrong does not depend on the image, so among
entries of score s, with p(s) = P(present | s), f = P(listed | absent) and r = P(not listed | present),

    g(s) = P(listed | s) = (1 - r) p + f (1 - p),          p = (g - f) / (1 - f - r),
    P(present | s, listed) = (1 - r) p / g(s),             P(present | s, negative) = r p / (1 - g(s)).

g is an isotonic regression of "listed" on the score, by class where a class has enough listed entries. Where there are
candidates, f is the flip rate among known labels as methods/priors.py estimates it, and listed labels miss nothing (r =
0 for them). Else f is read off where the class is surely absent, and r where it is surely present: at the lowest and
highest scores of each class (`noise_rates`), both too high where classes are hard to tell apart. This is right for
scores of images that did not train; a network that trained on a label has seen the answer, and so is surer than it
should be. Scores in and out of sample are calibrated apart.

The two together: the calibrated odds times x. They are no independent witnesses, so the product is a choice by
measurement and not by a theorem (docs/audit.md has it).
"""

from collections.abc import Callable

import numpy as np
from sklearn.isotonic import IsotonicRegression

from ltpml_jax.audit.evidence import Evidence
from ltpml_jax.data.labels import LabelState
from ltpml_jax.methods.label_states import listed

ENOUGH = 20  # listed entries from which a class is calibrated by itself
ANCHOR = 0.25  # share of a class's entries by which rates of noise are read off
_LEAST = 1e-4  # rates of noise are no smaller; beliefs that are combined keep so far from 0 and 1
_TOTAL = 1e-2  # how far from 1 the soft labels of an image may add up


def set_odds(soft: np.ndarray, size: np.ndarray) -> np.ndarray:
    """x / (x + 1) with x = soft label [n, C] * size [n] of the candidate set, [n, C]; NaN stays."""
    odds = soft * size[:, None]
    return odds / (odds + 1)


def shares_out(soft: np.ndarray, size: np.ndarray) -> bool:
    """Whether soft labels [n, C] add up to 1 in every image with a candidate, as NDLP's do; NaN rows count not."""
    rows = np.isfinite(soft).all(1) & (size > 0)
    return bool(rows.any() and np.abs(soft[rows].sum(1) - 1).max() < _TOTAL)


def listed_share(score: np.ndarray, known: np.ndarray, positive: np.ndarray, enough: int = ENOUGH) -> np.ndarray:
    """g(s) [n, C]: the share of listed entries among those of like score.

    score [n, C]; known, positive bool [n, C]: which entries count, and which of them are listed. A class with fewer
    than `enough` listed or not listed entries shares one curve with all such classes.
    """
    score = score.astype(np.float64)  # of float32, scikit-learn joins values that differ by less than 1e-6
    found = np.full(score.shape, np.nan)
    hits, misses = (known & positive).sum(0), (known & ~positive).sum(0)
    alone = np.minimum(hits, misses) >= enough
    for columns in [*([j] for j in np.flatnonzero(alone)), np.flatnonzero(~alone)]:
        part, counts = score[:, columns], known[:, columns]
        if counts.any():
            curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
            curve.fit(part[counts], positive[:, columns][counts].astype(np.float64))
            found[:, columns] = curve.predict(part.ravel()).reshape(part.shape)
    return found


def noise_rates(score: np.ndarray, known: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """(f, r), one for all classes: listed entries among the lowest-scored, not listed ones among the highest-scored.

    Arguments as of `listed_share`. Of each class the lowest ANCHOR of its entries, and as many of the highest as ANCHOR
    of its listed entries. Both rates are kept between 1e-4 and one half.
    """
    lowest, highest = np.zeros(2), np.zeros(2)
    for j in range(score.shape[1]):
        rows = np.flatnonzero(known[:, j])
        ordered = positive[rows[np.argsort(score[rows, j], kind="stable")], j]
        low, high = int(len(rows) * ANCHOR), int(np.ceil(ordered.sum() * ANCHOR))
        lowest += ordered[:low].sum(), low
        highest += (~ordered[len(rows) - high :]).sum(), high
    false, missing = (np.clip(hits / max(size, 1), _LEAST, 0.5) for hits, size in (lowest, highest))
    return float(false), float(missing)


def present(share: np.ndarray, given: np.ndarray, false: float, missing: float, hidden: float) -> np.ndarray:
    """P(present) [n, C] of g [n, C] by f = `false` and r = `missing`, as above; p for unknown labels.

    hidden: the r of negatives.
    """
    p = np.clip((share - false) / (1 - false - missing), 0, 1)
    of_listed, of_negative = (1 - missing) * p, hidden * p
    found = np.where(listed(given), of_listed / np.maximum(of_listed + false * (1 - p), 1e-12), p)
    return np.where(given == LabelState.NEGATIVE, of_negative / (of_negative + (1 - false) * (1 - p)), found)


def calibrated(evidence: Evidence) -> np.ndarray:
    """P(present) float64 [N, C] from the scores; NaN for images that cannot be read."""
    score, q = evidence.score, evidence.flip_rate
    found = np.full(score.shape, np.nan)
    readable = np.asarray(np.isfinite(score).all(1))
    for rows in (np.flatnonzero(readable & kind) for kind in (evidence.out_of_sample, ~evidence.out_of_sample)):
        if len(rows):
            given = evidence.given[rows]
            known, positive = given != LabelState.UNKNOWN, listed(given)
            share = listed_share(score[rows], known, positive)
            false, missing = noise_rates(score[rows], known, positive)
            found[rows] = (
                present(share, given, q, 0.0, missing) if q else present(share, given, false, missing, missing)
            )
    return np.where(np.isnan(found) & readable[:, None], score, found)  # where every label is unknown


def by_table(evidence: Evidence) -> np.ndarray:
    """As `calibrated`, but for candidates and unknown labels of images that trained what the method's table says.

    A table that is shared out over candidate sets says something of candidates alone, and by `set_odds`.
    """
    found, soft, given = calibrated(evidence), evidence.soft, evidence.given
    if soft is None:
        return found
    if shares_out(soft, evidence.size):
        soft, where = set_odds(soft, evidence.size), given == LabelState.CANDIDATE
    else:
        where = given >= LabelState.CANDIDATE
    mine = where & ~evidence.out_of_sample[:, None] & np.isfinite(soft) & np.isfinite(found)
    return np.where(mine, soft, found)


def combined(evidence: Evidence) -> np.ndarray:
    """As `calibrated`, and where the method has a table, that as well: what a run's audit ranks by.

    A table that is shared out over candidate sets multiplies the odds of the candidates that trained; another one is
    taken as it is, as by `by_table`.
    """
    found, soft = calibrated(evidence), evidence.soft
    if soft is None or not shares_out(soft, evidence.size):
        return by_table(evidence)
    mine = (evidence.given == LabelState.CANDIDATE) & ~evidence.out_of_sample[:, None] & np.isfinite(soft)
    p = np.clip(found, _LEAST, 1 - _LEAST)
    odds = p / (1 - p) * soft * evidence.size[:, None]
    return np.where(mine & np.isfinite(found), odds / (odds + 1), found)


# --belief -> P(present) float64 [N, C].
FORMS: dict[str, Callable[[Evidence], np.ndarray]] = {
    "combined": combined,
    "table": by_table,
    "calibrated": calibrated,
    "score": lambda evidence: evidence.score.astype(np.float64),
}
