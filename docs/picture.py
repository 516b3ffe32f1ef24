"""Draw the README's picture from a run: `python docs/picture.py --workdir=runs/digits --out=docs/run.png`.

Needs matplotlib (`pip install -e .[docs]`). Left: loss and validation mAP by epoch. Right: training scenes with their
candidate labels; bars are the confidence that NDLP has come to, the dotted line is where all of them began.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import ltpml_jax
from ltpml_jax.data import augment
from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.task import Task
from ltpml_jax.errors import UserError
from ltpml_jax.runtime import checkpoints

TRUE, FALSE = "#1b7f4d", "#b8b8b8"
SCENES = 6


def main() -> None:
    """Read the run, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="directory of a finished run of NDLP")
    parser.add_argument("--out", required=True, help="the .png to write")
    arguments = parser.parse_args()
    try:
        opened = ltpml_jax.open_run(arguments.workdir)
        confidence, _ = opened.beliefs()
    except UserError as error:
        parser.error(str(error))
    figure = plt.figure(figsize=(13, 5.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 3))
    draw_curves(left, arguments.workdir)
    draw_scenes(right, opened.run.task, confidence)
    figure.savefig(arguments.out, dpi=90)


def draw_curves(figure, workdir: Path) -> None:
    """Mean loss and validation mAP by epoch, from metrics.jsonl."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if "epoch_loss" in line]
    number = [line["epoch"] + 1 for line in epochs]
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(number, [line["epoch_loss"] for line in epochs], color="#345995")
    above.set_title("training loss, both passes", fontsize=10)
    below.plot(number, [line[checkpoints.SCORE] for line in epochs], color="#345995")
    below.set_title("mAP on held-out candidates, %", fontsize=10)
    below.set_xlabel("epoch")


def draw_scenes(figure, task: Task, confidence: np.ndarray) -> None:
    """Scenes with two or three objects, each with its candidates, surest first; confidence [N, C]."""
    truth = task.dataset.train.labels[task.train]
    several = np.flatnonzero((truth.sum(1) >= 2) & (truth.sum(1) <= 3))
    chosen = several[np.linspace(0, len(several) - 1, SCENES).astype(int)]
    axes = figure.subplots(2, 2 * (SCENES // 2), width_ratios=(1, 1.1) * (SCENES // 2))
    for place, row in enumerate(chosen):
        picture, bars = axes[place // 3, 2 * (place % 3) : 2 * (place % 3) + 2]
        record = task.dataset.train.records[int(task.train[row])]
        picture.imshow(augment.decode(record["image"]))
        picture.axis("off")
        candidates = task.served[np.array([row])][0] != LabelState.NEGATIVE
        draw_bars(bars, confidence[row], candidates, truth[row], task.dataset.class_names)
    figure.suptitle(
        "confidence in each candidate label after training: green is true, grey is not; dotted: before training",
        fontsize=11,
    )


def draw_bars(axis, confidence: np.ndarray, candidates: np.ndarray, truth: np.ndarray, names: tuple[str, ...]) -> None:
    """The candidates of one image; arrays [C]."""
    columns = np.flatnonzero(candidates)
    columns = columns[np.argsort(confidence[columns])]
    colours = [TRUE if truth[j] else FALSE for j in columns]
    axis.barh([names[j].replace("_", " ") for j in columns], confidence[columns], color=colours)
    axis.axvline(1 / len(columns), color="black", linewidth=0.8, linestyle=":")
    axis.set_xlim(0, 2 / len(columns))
    axis.tick_params(labelsize=8)


if __name__ == "__main__":
    main()
