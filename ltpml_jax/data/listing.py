"""What a reader of label files hands to the writer of a prepared dataset: names, paths, labels; no pixels."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class ListedSplit:
    """N images in their final order.

    ids: unique within the split, as the source names them; paths: where each image lies, as etils.epath opens it
    (whether it does is the writer's to find out); states: int8 [N, C] of labels.LabelState; disagreements: int64
    [D, 4] of row, class, annotators who say present, annotators who say absent, where there are both.
    """

    ids: list[str]
    paths: list[str]
    states: np.ndarray
    disagreements: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.int64))

    def rows(self, kept: np.ndarray) -> "ListedSplit":
        """The images at rows int64 [K], which ascend."""
        ids, paths = [self.ids[row] for row in kept], [self.paths[row] for row in kept]
        there = self.disagreements[np.isin(self.disagreements[:, 0], kept)]
        moved = np.column_stack([np.searchsorted(kept, there[:, 0]), there[:, 1:]])
        return ListedSplit(ids, paths, self.states[kept], moved)


@dataclass(frozen=True)
class Listing:
    """A dataset before its images are read.

    splits: "train", "test" and, where there is one, "validation"; groups: masks bool [C] under "head", "medium" and
    "tail" where the source gives them (None: by count); notes: sentences for the report and the metadata.
    """

    class_names: tuple[str, ...]
    splits: dict[str, ListedSplit]
    groups: dict[str, np.ndarray] | None = None
    notes: list[str] = field(default_factory=list)
