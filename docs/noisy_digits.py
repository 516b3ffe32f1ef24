"""Own data whose noise is known, for docs/audit.md: `python -m docs.noisy_digits FOLDER [SEED]`.

Writes the images of digits_mlt to FOLDER/photos and FOLDER/labels.csv: of the training positives 5 % are swapped for a
class that is absent, and another 20 % dropped; test labels are true. FOLDER/truth.csv has all true labels.

`python -m docs.noisy_digits FOLDER decide AUDIT ENTRIES` stands in for a person at the page: it decides on the first
ENTRIES positives and negatives of an audit, always rightly, and writes FOLDER/corrections.csv as the page does.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from ltpml_jax.data import datasets

SWAPPED, DROPPED = 0.05, 0.2


def noisy(truth: np.ndarray, seed: int) -> np.ndarray:
    """Labels int8 [N, C] of true ones [N, C], of whose positives some are swapped and some dropped."""
    rng = np.random.default_rng(seed)
    given, draw = truth.copy(), rng.random(truth.shape)
    for row, column in zip(*np.nonzero(truth), strict=True):
        if draw[row, column] < SWAPPED:
            given[row, rng.choice(np.flatnonzero((truth[row] == 0) & (given[row] == 0)))] = 1
        if draw[row, column] < SWAPPED + DROPPED:
            given[row, column] = 0
    return given


def decide(folder: Path, audit: Path, entries: int) -> None:
    """Write corrections.csv: the true states of the labels of an audit whose rank is up to `entries`."""
    with (folder / "truth.csv").open(newline="") as file:
        truth = {row["path"]: row for row in csv.DictReader(file)}
    with (audit / "entries.csv").open(newline="") as file:
        listed = [row for row in csv.DictReader(file) if row["distrust"] and int(row["rank"]) <= entries]
    rows = [
        [
            one["id"],
            one["class"],
            truth[one["id"]][one["class"]],
            "1" if one["given"] == "positive" else "0",
            one["reason"],
        ]
        for one in listed
    ]
    with (folder / "corrections.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["id", "class", "state", "was", "note"], *rows])


def main(folder: Path, seed: int) -> None:
    """Write the images and both tables."""
    dataset = datasets.load("digits_mlt", "~/tensorflow_datasets")
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[list]] = {"labels.csv": [], "truth.csv": []}
    for split, part in (("train", dataset.train), ("test", dataset.test)):
        truth = np.asarray(part.labels)
        tables = {"labels.csv": noisy(truth, seed) if split == "train" else truth, "truth.csv": truth}
        for row in range(len(truth)):
            record = part.records[row]
            (folder / "photos" / f"{record['id']}.png").write_bytes(record["image"])
            for name, table in tables.items():
                rows[name].append([f"{record['id']}.png", split, *table[row].tolist()])
    for name, lines in rows.items():
        with (folder / name).open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([["path", "split", *dataset.class_names], *lines])


if __name__ == "__main__":
    if sys.argv[2:3] == ["decide"]:
        decide(Path(sys.argv[1]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
