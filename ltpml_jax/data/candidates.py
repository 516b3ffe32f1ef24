"""Label tables that are made when asked for, a few rows at a time: no process holds more than bits of a large one."""

import hashlib
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

from ltpml_jax.data.labels import LabelState, blocks
from ltpml_jax.data.streams import Purpose, uniform_rows
from ltpml_jax.errors import UserError
from ltpml_jax.methods.label_states import listed


def draw_candidates(states: np.ndarray, rows: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """LT-PML's candidate sets of some images, int8 [n, C] of LabelState; this is the only place that draws them.

    Every positive becomes a candidate, and so does, with probability `rate`, independently for each image and class,
    every class that is negative or unknown; what else is negative or unknown stays so. Annotators' own candidates
    stay candidates. A row is a function of its number in the whole split and of `seed` alone (streams.py), so that it
    is equal on every machine and whatever other rows are asked for.

    Args:
        states: int8 [n, C] of LabelState.
        rows: int64 [n], the images' numbers in the whole split.
        rate: q, the partial rate, in [0, 1).
        seed: from 0 to 2**64 - 1.

    Raises:
        UserError: the rate or the seed is outside its range.
    """
    if not 0.0 <= rate < 1.0:  # a NaN fails this comparison too
        raise UserError(f"the partial rate is {rate}; set it to at least 0 and below 1.")
    flipped = uniform_rows(rows, states.shape[1], seed, Purpose.CANDIDATES) < rate
    return np.where(listed(states) | flipped, LabelState.CANDIDATE, states).astype(np.int8)


class DrawnCandidates:
    """The candidate sets of a split of M images: a row is drawn when it is first asked for, and kept as bits.

    Drawing is the dear part of a start (2e9 random numbers for 2e6 images and 1000 classes); the bits take M C / 8
    bytes once all rows were asked for.
    """

    def __init__(self, states: np.ndarray, rate: float, seed: int) -> None:
        """Nothing is drawn yet; arguments as of `draw_candidates`, states int8 [M, C]."""
        self.states, self.rate, self.seed = states, rate, seed
        self.known = np.zeros(len(states), bool)
        self.bits = np.zeros((len(states), -(-states.shape[1] // 8)), np.uint8)  # memory that is not touched costs none

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Rows int64 [n] of the split, int8 [n, C] of LabelState; raises as `draw_candidates`."""
        new = rows[~self.known[rows]]
        if len(new):
            drawn = draw_candidates(self.states[new], new, self.rate, self.seed)
            self.bits[new] = np.packbits(drawn == LabelState.CANDIDATE, axis=1)
            self.known[new] = True  # after the bits: another thread may read them from here on
        there = np.unpackbits(self.bits[rows], axis=1, count=self.states.shape[1]).view(bool)
        return np.where(there, LabelState.CANDIDATE, self.states[rows]).astype(np.int8)


# What an unknown label becomes, by config.data.unknown.
UNKNOWN_AS = {
    "candidate": LabelState.CANDIDATE,
    "negative": LabelState.NEGATIVE,
    "unknown": LabelState.UNKNOWN,
}


class LabelRows:
    """What training is given of N images, [N, C] of LabelState; `rows[i]` for a slice or integer array is int8 [n, C].

    With a partial rate above 0 candidate sets are drawn (`draw_candidates`); `unknown`, a key of UNKNOWN_AS, says what
    labels become that are unknown after that. Picklable; a memory-mapped table of states is opened again by name.
    """

    def __init__(self, states: np.ndarray, rows: np.ndarray, unknown: str, rate: float = 0.0, seed: int = 0) -> None:
        """states int8 [M, C] of LabelState; rows int64 [N], which of them."""
        self.states, self.rows, self.unknown, self.rate, self.seed = states, rows, unknown, rate, seed
        self.drawn = DrawnCandidates(states, rate, seed) if rate else None

    def of(self, rows: np.ndarray) -> "LabelRows":
        """The labels of some of these images, numbered anew from 0; what is drawn is shared."""
        part = LabelRows(self.states, self.rows[rows], self.unknown, self.rate, self.seed)
        part.drawn = self.drawn
        return part

    def whole(self, unknown: str) -> "LabelRows":
        """The labels of all M images, with another `unknown`; what is drawn is shared."""
        every = LabelRows(self.states, np.arange(len(self.states)), unknown, self.rate, self.seed)
        every.drawn = self.drawn
        return every

    @property
    def shape(self) -> tuple[int, int]:
        """(N, C)."""
        return len(self.rows), self.states.shape[1]

    def __len__(self) -> int:
        """N."""
        return len(self.rows)

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        """Some rows, int8 [n, C]."""
        rows = self.rows[index]
        states = np.array(self.states[rows], np.int8) if self.drawn is None else self.drawn[rows]
        states[states == LabelState.UNKNOWN] = UNKNOWN_AS[self.unknown]
        return states

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, rows int8 [n, C]) from beginning to end; n is a multiple of 8 but for the last."""
        for part in blocks(*self.shape):
            yield part.start, self[part]

    def stretch(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop`, int8 [stop - start, C]; those from N on are all negative."""
        out = np.zeros((stop - start, self.shape[1]), np.int8)
        there = max(min(stop, len(self)) - start, 0)
        for part in blocks(there, self.shape[1]):
            out[part] = self[slice(start + part.start, start + part.stop)]
        return out

    def candidate_counts(self) -> np.ndarray:
        """For each class, in how many images it is positive or a candidate, int64 [C]."""
        total = np.zeros(self.shape[1], np.int64)
        for _, block in self.blocks():
            total += listed(block).sum(0, dtype=np.int64)
        return total

    def state_counts(self) -> np.ndarray:
        """How often each class has each LabelState, int64 [4, C]."""
        total = np.zeros((len(LabelState), self.shape[1]), np.int64)
        for _, block in self.blocks():
            total += np.stack([(block == state).sum(0, dtype=np.int64) for state in LabelState])
        return total

    def empty_count(self) -> int:
        """How many images have neither a positive nor a candidate."""
        return sum(int((~listed(block).any(1)).sum()) for _, block in self.blocks())

    def digest(self) -> str:
        """The sha256 that `manifest.digest` gives of the whole table."""
        found = hashlib.sha256(f"int8[{self.shape[0]},{self.shape[1]}]".encode())
        for _, block in self.blocks():
            found.update(np.ascontiguousarray(block).data)
        return found.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: the name of a memory-mapped file instead of what is in it."""
        kept = {name: value for name, value in vars(self).items() if name != "drawn"}
        states = self.states
        if isinstance(states, np.memmap) and isinstance(states.base, mmap.mmap):
            kept["states"] = (states.filename, states.dtype, states.offset, states.shape)
        return kept

    def __setstate__(self, kept: dict[str, Any]) -> None:
        """The inverse of __getstate__."""
        if isinstance(kept["states"], tuple):
            name, dtype, offset, shape = kept["states"]
            kept = kept | {"states": np.memmap(name, dtype, "r", offset, shape)}
        vars(self).update(kept)
        self.drawn = DrawnCandidates(self.states, self.rate, self.seed) if self.rate else None


class ClassLists:
    """The images in which each class is positive or a candidate, a bit each: uint8 [C, N / 8]."""

    def __init__(self, bits: np.ndarray, size: int) -> None:
        """Bits uint8 [C, ceil(N / 8)], as np.packbits makes them; size: N."""
        self.bits, self.size = bits, size

    @classmethod
    def of(cls, labels: LabelRows) -> "ClassLists":
        """The lists of a table [N, C]."""
        size, classes = labels.shape
        bits = np.zeros((classes, -(-size // 8)), np.uint8)
        for start, block in labels.blocks():
            packed = np.packbits(listed(block).T, axis=1)
            bits[:, start // 8 : start // 8 + packed.shape[1]] = packed
        return cls(bits, size)

    def __len__(self) -> int:
        """C."""
        return len(self.bits)

    def __getitem__(self, j: int) -> np.ndarray:
        """Rows int64 [n_j] of class j, ascending."""
        return np.flatnonzero(np.unpackbits(self.bits[j], count=self.size))
