"""How good a run's pseudo labels are, counted a block of rows at a time by the process that has the rows.

The average precision is over soft labels in bins of their float32 without its last ten bits: finer than 2e-4 of the
value, and a sum of whole numbers, which comes out the same on any number of processes and devices.

Soft labels that add up to 1 over a candidate set, as NDLP's do, are not comparable across images: the average
precision of soft label x size of the set, the odds against where it began, is reported beside theirs.
"""

import math
from typing import NamedTuple

import jax
import numpy as np

from ltpml_jax.data.labels import LabelState, blocks
from ltpml_jax.data.task import Task
from ltpml_jax.evaluation.metrics import Scores
from ltpml_jax.methods.base import Method
from ltpml_jax.methods.label_states import listed
from ltpml_jax.runtime import processes, watchdog
from ltpml_jax.state import TrainState

SHARES = 50  # parts of [0, 1] in a histogram
_DROPPED_BITS = 10
_BINS = (int(np.float32(1).view(np.uint32)) >> _DROPPED_BITS) + 1


class Counts(NamedTuple):
    """Whole numbers, int64.

    true, false [bins]: true and false candidates by soft label, without known positives and unknown labels; found [3]:
    hits, predicted, present; true_by_odds, false_by_odds [bins]: as the first two, by x / (x + 1) with x = soft label *
    size of the set; spread [SHARES]: candidates by soft label in equal parts of [0, 1], whatever is true; true_unknown,
    false_unknown [bins]: unknown labels by soft label, by what is true.
    """

    true: np.ndarray
    false: np.ndarray
    found: np.ndarray
    true_by_odds: np.ndarray
    false_by_odds: np.ndarray
    spread: np.ndarray
    true_unknown: np.ndarray
    false_unknown: np.ndarray

    @property
    def predicted(self) -> int:
        """How many hard labels are 1."""
        return int(self.found[1])


def measure(method: Method, state: TrainState, task: Task) -> Counts | None:
    """Counts of the pseudo labels of a state, whose tables may be sharded over processes; None if it keeps none.

    Where the dataset does not know its true labels, only `spread` has a meaning.
    """
    if method.beliefs is None:
        return None
    mine = Counts(*(np.zeros(size, np.int64) for size in (_BINS, _BINS, 3, _BINS, _BINS, SHARES, _BINS, _BINS)))
    for start, soft, hard in beliefs_by_block(method, state, len(task.train)):
        rows = slice(start, start + len(soft))
        truth = task.dataset.train.labels[task.train[rows]]
        found = count(soft, hard, np.asarray(truth), task.served[rows])
        mine = Counts(*(before + more for before, more in zip(mine, found, strict=True)))
        watchdog.beat(f"pseudo labels from image {start} on")
    return Counts(*map(processes.total, mine))


def beliefs_by_block(method: Method, state: TrainState, images: int):
    """(first row, soft, hard float [n, C]) of this process's rows, a block at a time."""
    assert method.beliefs is not None  # the caller has checked
    beliefs, shared = jax.jit(method.beliefs), jax.tree.map(np.asarray, state.shared)
    tables, form = jax.tree.flatten(state.rows)
    for shards in zip(*(table.addressable_shards for table in tables), strict=True):
        first, size = shards[0].index[0].start or 0, shards[0].data.shape[0]
        for part in blocks(
            max(min(first + size, images) - first, 0), max(math.prod(table.shape[1:]) for table in tables)
        ):
            rows = jax.tree.unflatten(form, [shard.data[part] for shard in shards])
            soft, hard = beliefs(shared, rows)
            yield first + part.start, np.asarray(soft), np.asarray(hard)


def count(soft: np.ndarray, hard: np.ndarray, truth: np.ndarray, states: np.ndarray) -> Counts:
    """Counts of some rows; all arguments [n, C]: soft in [0, 1], hard 0 and 1, truth and states int8 of LabelState.

    truth: what is; states: what training sees.
    """
    at, unknown = states == LabelState.CANDIDATE, states == LabelState.UNKNOWN
    true, predicted = truth == LabelState.POSITIVE, hard > 0
    odds = soft * listed(states).sum(1, keepdims=True)
    found = np.array([(true & predicted).sum(), predicted.sum(), true.sum()], np.int64)
    plain = binned(soft, at & true, at & ~true, unknown & true, unknown & ~true)
    by_odds = binned(odds / (odds + 1), at & true, at & ~true)
    spread = np.histogram(soft[at], SHARES, (0, 1))[0]
    return Counts(plain[0], plain[1], found, by_odds[0], by_odds[1], spread, plain[2], plain[3])


def binned(values: np.ndarray, *masks: np.ndarray) -> tuple[np.ndarray, ...]:
    """For each mask [n, C], how many values in [0, 1] of those it selects lie in each bin, int64 [bins]."""
    bins = np.minimum(values.astype(np.float32).view(np.uint32) >> _DROPPED_BITS, _BINS - 1)
    return tuple(np.bincount(bins[mask], minlength=_BINS) for mask in masks)


def scores(counts: Counts) -> Scores:
    """Average precision of soft labels over candidates and over unknown labels, precision and recall of hard labels.

    In percent; NaN where there is none.
    """
    hits, predicted, present = counts.found.tolist()
    return {
        "soft_label_AP": binned_precision(counts.true, counts.false),
        "soft_label_x_size_AP": binned_precision(counts.true_by_odds, counts.false_by_odds),
        "soft_label_unknown_AP": binned_precision(counts.true_unknown, counts.false_unknown),
        "hard_label_precision": 100 * hits / max(predicted, 1),
        "hard_label_recall": 100 * hits / max(present, 1),
    }


def binned_precision(true: np.ndarray, false: np.ndarray) -> float:
    """Average precision in percent of true and false entries by bin [bins]; NaN where there is no true one."""
    true, false = true[::-1], false[::-1]  # from the surest on
    at = true > 0
    precision = true.cumsum()[at] / (true + false).cumsum()[at]
    return 100 * float(precision @ true[at]) / float(true.sum()) if at.any() else float("nan")
