"""Evidence of runs that never were, for the audit: a few images on disk, labels and scores by hand."""

from pathlib import Path

import cv2
import numpy as np

from ltpml_jax.audit.evidence import Evidence
from ltpml_jax.data import prepared
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.records import Records
from ltpml_jax.data.writing import writer

NO, YES, MAYBE, UNKNOWN = 0, 1, 2, 3
HOSTILE = (
    "<script>alert(1)</script>",
    "\"quoted\" & 'single'",
    "x" * 300,
    "\u05e9\u05dc\u05d5\u05dd \u202eright to left",
    "\U0001f98a, fox\u2028line",
    "a;b|c",
)
DISAGREEMENTS = np.array([[1, 0, 2, 1]])  # two of three say of the second image that it shows the first class
STATES = np.array(
    [
        [YES, NO, MAYBE, UNKNOWN, NO, YES],
        [MAYBE, MAYBE, NO, YES, UNKNOWN, NO],
        [NO, NO, MAYBE, NO, NO, NO],
        [UNKNOWN] * 6,
    ]
)


def dataset(folder: Path, name: str = "mine", names: tuple[str, ...] = HOSTILE) -> Path:
    """A prepared dataset of four training images with STATES and two of test; returns config.data.dir."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    splits = {}
    for split, ids in (("train", ["a.png", "dir/b.png", '<i>"c"</i>.png', "d.png"]), ("test", ["e.png", "f.png"])):
        files = []
        for number, _ in enumerate(ids):
            files.append(str(photos / f"{split}{number}.png"))
            pixels = np.full((12 + number, 20, 3), 40 * number, np.uint8)
            assert cv2.imwrite(files[-1], pixels)
        states = STATES if split == "train" else np.zeros((2, 6), int)
        said = DISAGREEMENTS if split == "train" else DISAGREEMENTS[:0]
        splits[split] = ListedSplit(ids, files, states[:, : len(names)].astype(np.int8), said)
    writer.write(name, Listing(names, splits), folder / "data", jobs=1)
    return folder / "data"


def evidence(data: Path, name: str = "mine", names: tuple[str, ...] = HOSTILE) -> Evidence:
    """Scores that fall from 0.9 along every row; the last image was not trained on; no table."""
    given = STATES[:, : len(names)].astype(np.int8)
    score = np.linspace(0.9, 0.1, given.size, dtype=np.float32).reshape(given.shape)
    groups = {group: np.arange(len(names)) % 3 == number for number, group in enumerate(("head", "medium", "tail"))}
    folder = data / "lt_pml" / name / "1.0.0"
    return Evidence(
        names, groups, Records(name, str(folder), "train", 4, len(names)), given, score, None,
        ((given == 1) | (given == 2)).sum(1), np.array([False, False, False, True]), np.full(4, 10), 0.0, "",
        {"dataset": name, "candidates_sha256": "ab", "method": "bce", "workdirs": ["A"], "seeds": [0], "steps": [10]},
        prepared.disagreements(folder, "train", given.shape),
    )  # fmt: skip
