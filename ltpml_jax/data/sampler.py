"""Which training sample comes at which position: class-aware rounds, or a plain shuffle.

Everything is a function of (seed, epoch); no sampler carries a random state from one epoch to the next.
"""

import math

import numpy as np

from ltpml_jax.data.candidates import ClassLists
from ltpml_jax.errors import UserError

KINDS = ("class_aware", "shuffle")
_CONSECUTIVE = 3  # items taken from a class each time it is drawn, as in the reference
_SHUFFLE, _CLASS_ROUNDS, _CLASS_ITEMS = 0, 1, 2


def _bits(seed: int, purpose: int, epoch: int, item: int) -> np.random.Philox:
    return np.random.Philox(np.random.SeedSequence((seed, purpose, epoch, item)))


def _permutation(bits: np.random.Philox, n: int) -> np.ndarray:
    # Sorting raw bits, because these are the same in every version of NumPy, and Generator.permutation is not.
    return np.argsort(bits.random_raw(n), kind="stable")


def _shuffled_cycle(bits: np.random.Philox, items: np.ndarray, length: int) -> np.ndarray:
    """`items` over and over, shuffled anew each time round, cut to `length`."""
    rounds = [items[_permutation(bits, len(items))] for _ in range(math.ceil(length / len(items)))]
    return np.concatenate(rounds)[:length]


def class_aware_epoch_length(class_counts: np.ndarray) -> int:
    """Samples in a class-aware epoch: floor(largest count * C / 4); counts [C] may be estimates (floats)."""
    return math.floor(float(np.max(class_counts)) * len(class_counts) / 4)


def steps_per_epoch(class_counts: np.ndarray, batch_size: int) -> int:
    """Whole batches in a class-aware epoch; the last incomplete one is dropped.

    Raises:
        UserError: the epoch does not fill one batch.
    """
    samples = class_aware_epoch_length(class_counts)
    if samples < batch_size:
        raise UserError(
            f"config.data.batch_size is {batch_size}, but a class-aware epoch has only {samples} samples; "
            "make it smaller."
        )
    return samples // batch_size


def class_aware_order(lists: ClassLists, length: int, seed: int, epoch: int) -> np.ndarray:
    """Rows int64 [length]: classes in shuffled rounds, three consecutive items of each class drawn.

    Every class keeps its own list of its samples, which is shuffled anew when it is used up. Classes without a
    sample are skipped. A longer order starts with the shorter one.

    Raises:
        UserError: no class has a sample.
    """
    present = np.array([j for j in range(len(lists)) if lists.bits[j].any()], dtype=np.int64)
    if not len(present):
        raise UserError("no class has an image to sample from; check the labels of the training split.")
    draws = math.ceil(length / _CONSECUTIVE)
    rounds = math.ceil(draws / len(present))
    drawn = _shuffled_cycle(_bits(seed, _CLASS_ROUNDS, epoch, 0), present, draws)
    triples = np.zeros((len(lists), rounds, _CONSECUTIVE), np.int64)
    for j in present:
        items = _shuffled_cycle(_bits(seed, _CLASS_ITEMS, epoch, int(j)), lists[j], rounds * _CONSECUTIVE)
        triples[j] = items.reshape(rounds, _CONSECUTIVE)
    # A class comes once a round, so the round's number says which of its triples is next.
    return triples[drawn, np.arange(draws) // len(present)].reshape(-1)[:length]


def shuffled_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation int64 [n] of the rows."""
    return _permutation(_bits(seed, _SHUFFLE, epoch, 0), n)


class EpochOrders:
    """Position in the whole run -> row: an order for each epoch, computed when first asked for.

    Args:
        kind: "class_aware" or "shuffle".
        lists: the images of each class, as the class-aware kind takes them for true; of the other only its size.
        length: samples in an epoch, a whole number of batches.
        epochs: epochs in the run.
        seed: not negative.

    Raises:
        UserError: unknown kind, or a shuffled epoch longer than the data.
    """

    def __init__(self, kind: str, lists: ClassLists, length: int, epochs: int, seed: int) -> None:
        """Check the arguments; no order is computed yet."""
        if kind not in KINDS:
            raise UserError(f"there is no sampler {kind!r}; choose one of {', '.join(KINDS)}.")
        if kind == "shuffle" and length > lists.size:
            raise UserError(f"{lists.size} images are too few for a shuffled epoch of {length}; shorten it.")
        self.kind, self.lists, self.length, self.epochs, self.seed = kind, lists, length, epochs, seed
        self._recent: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """Samples in the whole run."""
        return self.epochs * self.length

    def __getitem__(self, position: int) -> int:
        """The row at a position in [0, len)."""
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} is outside a run of {len(self)} samples")
        epoch, offset = divmod(position, self.length)
        return int(self.order(epoch)[offset])

    def order(self, epoch: int) -> np.ndarray:
        """Rows int64 [length] of one epoch."""
        recent = self._recent
        if epoch in recent:
            return recent[epoch]
        if self.kind == "class_aware":
            order = class_aware_order(self.lists, self.length, self.seed, epoch)
        else:
            order = shuffled_order(self.lists.size, self.seed, epoch)[: self.length]
        # Two epochs, for the batches that are read ahead across a boundary. The dict is replaced, never
        # changed, so reader threads need no lock: at worst two of them compute the same order.
        self._recent = {**dict(list(recent.items())[-1:]), epoch: order}
        return order
