"""Cuts test and validation images out of a listing so that every split has its share of every class.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD
2011): the rarest class first, each of its images goes where the class is wanted most.

Own code because the packages that have it (iterative-stratification, scikit-multilearn) know no candidates and draw
from NumPy's distributions, whose results NumPy may change. Here everything is integer, and equal on every machine.
"""

from dataclasses import replace

import numpy as np

from ltpml_jax.data import streams
from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.listing import Listing
from ltpml_jax.data.streams import Purpose
from ltpml_jax.errors import UserError
from ltpml_jax.methods.label_states import listed

_ONE = 1 << 32  # a positive in fixed point, so that sums of shares are exact and in no particular order


def split(listing: Listing, test_share: float, validation_share: float, seed: int) -> Listing:
    """The listing with these shares of its training images moved to "test" and "validation"; 0 moves none.

    Candidates of an image share one positive. Sizes are the rounded shares, except that a held-out split gives way
    where it would take the last training image of a class. Images stay in their order within a split.

    Raises:
        UserError: a share is outside [0, 1), both leave nothing to train on, one leaves its split empty, or the
            listing has that split already.
    """
    source = listing.splits["train"]
    wanted = {"test": test_share, "validation": validation_share}
    sizes = {name: _size(listing, name, share) for name, share in wanted.items() if share != 0}
    kept = len(source.ids) - sum(sizes.values())
    if kept < 1:
        raise UserError("--test_share and --validation_share leave no image to train on; lower them.")
    homes = assign(source.states, [kept, *sizes.values()], seed)
    splits = {name: source.rows(np.flatnonzero(homes == number)) for number, name in enumerate(["train", *sizes])}
    empty = [name for name in sizes if not splits[name].ids]
    if empty:
        raise UserError(f"Every image is the last one of some class: none is left for {empty[0]}; list more images.")
    notes = [
        f"{len(splits[name].ids)} images were set apart for {name}, stratified by class, seed {seed}." for name in sizes
    ]
    return replace(listing, splits={**listing.splits, **splits}, notes=[*listing.notes, *notes])


def _size(listing: Listing, name: str, share: float) -> int:
    if not 0.0 <= share < 1.0:  # a NaN fails this comparison too
        raise UserError(f"--{name}_share is {share}; set it to at least 0 and below 1.")
    if name in listing.splits:
        raise UserError(f"The source has a split {name} of its own; leave --{name}_share out.")
    images = len(listing.splits["train"].ids)
    if round(images * share) == 0:
        raise UserError(f"--{name}_share of {share} takes none of {images} images; raise it.")
    return round(images * share)


def assign(states: np.ndarray, sizes: list[int], seed: int) -> np.ndarray:
    """The split int64 [N] of each row of states [N, C]; `sizes` add up to N, and split 0 keeps every class."""
    order = np.argsort(streams.raw(len(states), seed, Purpose.STRATIFIED_SPLIT), kind="stable")
    shuffled, homes = states[order], np.full(len(states), -1)
    filling = _Filling(shuffled, sizes)
    while (filling.left > 0).any():
        label = int(np.where(filling.left > 0, filling.left, np.iinfo(np.int64).max).argmin())
        rows = np.flatnonzero((homes < 0) & listed(shuffled[:, label]))
        homes[rows] = filling.place(label, shuffled[rows])
    homes[homes < 0] = np.repeat(np.arange(len(sizes)), np.maximum(filling.room, 0))[: (homes < 0).sum()]
    result = np.empty_like(homes)
    result[order] = homes
    return result


class _Filling:
    """S splits of C classes while rows are put into them one by one."""

    def __init__(self, states: np.ndarray, sizes: list[int]):
        """Splits of these sizes, to be filled with the rows of states [N, C]."""
        self.left = sum((_weights(block).sum(0) for block in _blocks(states)), np.zeros(states.shape[1], np.int64))
        self.room = list(sizes)
        self.wanted = np.array([self.left // len(states) * size for size in sizes])  # [S, C], in units of 1 / _ONE
        # Of a class that has positives, one must stay; of one that only has candidates, a candidate.
        self.by_positives = (states == LabelState.POSITIVE).any(0)
        self.last = self._evidence(states).sum(0)
        self.kept = np.zeros(states.shape[1], bool)

    def _evidence(self, states: np.ndarray) -> np.ndarray:
        return np.where(self.by_positives, states == LabelState.POSITIVE, states == LabelState.CANDIDATE)

    def place(self, label: int, states: np.ndarray) -> list[int]:
        """Puts rows [K, C], in all of which `label` is named, into splits; returns those."""
        return [
            self._place(label, weights, evidence)
            for block in _blocks(states)
            for weights, evidence in zip(_weights(block), self._evidence(block), strict=True)
        ]

    def _place(self, label: int, weights: np.ndarray, evidence: np.ndarray) -> int:
        needed = (evidence & ~self.kept & (self.last == 1)).any()
        home = 0 if needed else self._most_wanted(label)
        self.room[home] -= 1
        self.wanted[home] -= weights
        self.left -= weights
        self.last -= evidence
        if home == 0:
            self.kept |= evidence
        return home

    def _most_wanted(self, label: int) -> int:
        """The split with room that wants the class most, then the one with most room, then the first."""
        wanted = self.wanted[:, label].tolist()
        return max(
            (home for home, room in enumerate(self.room) if room > 0), key=lambda home: (wanted[home], self.room[home])
        )


def _weights(states: np.ndarray) -> np.ndarray:
    """What each entry of states [N, C] counts, int64 in units of 1 / _ONE."""
    candidate = states == LabelState.CANDIDATE
    share = _ONE // np.maximum(candidate.sum(1, keepdims=True), 1)
    return (states == LabelState.POSITIVE) * np.int64(_ONE) + candidate * share


def _blocks(states: np.ndarray) -> list[np.ndarray]:
    """The rows in blocks, so that the weights of a million images are never in memory at once."""
    return [states[start : start + 65536] for start in range(0, len(states), 65536)]
