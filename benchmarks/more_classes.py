"""Scenes as in digits_mlt with twice the classes: each digit in four colour families in place of two.

python -m benchmarks.more_classes FOLDER

Draws 2,400 training images with 560 down to 4 positives a class, and 2,000 for test with 102, so that an image holds
two classes on average as there; writes them as PNG with a table of labels, and prepares the dataset `digits_40` in
FOLDER. benchmarks.other_data does so for itself.
"""

import argparse
import contextlib
import csv
import sys
from pathlib import Path

from ltpml_jax import cli
from ltpml_jax.commands import prepare
from ltpml_jax.data import digits_mlt, prepared, scenes

NAME = "digits_40"
# Degrees of hue; the gaps of 60 leave them apart after a hue jitter of 18 on both sides.
FAMILIES = {"red": (-15.0, 15.0), "green": (75.0, 105.0), "cyan": (165.0, 195.0), "purple": (255.0, 285.0)}
CLASSES = tuple(scenes.ClassSpec(f"{d}_{name}", d, hues) for d in range(10) for name, hues in FAMILIES.items())
SHARES = digits_mlt.EMBEDDED["digits_mlt"].plans["train"].shares
PLANS = {
    "train": digits_mlt.SplitPlan("train", 2400, 560, 4, SHARES, 5),
    "test": digits_mlt.SplitPlan("test", 2000, 102, 102, SHARES, 6),
}


def write_images(folder: Path) -> None:
    """Images below folder/images, and folder/labels.csv with a column for each class."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "split", *(spec.name for spec in CLASSES)])
        for split, plan in PLANS.items():
            drawn = digits_mlt.draw_scenes(plan, CLASSES, digits_mlt.SEED)
            for number, (labels, scene) in enumerate(drawn):
                name = f"{split}{number:04d}.png"
                (folder / "images" / name).write_bytes(digits_mlt.encode_png(scene.image))
                table.writerow([name, split, *labels.tolist()])


def build(folder: Path) -> str:
    """Folder of the dataset, for config.data.dir; it is drawn and prepared where it is not there yet."""
    if not prepared.folder_of(NAME, str(folder)).exists():
        write_images(folder)
        words = [f"--dataset={NAME}", f"--csv={folder / 'labels.csv'}", f"--images={folder / 'images'}"]
        with contextlib.redirect_stdout(sys.stderr):
            prepare.COMMAND.run(cli.parse("prepare", prepare.COMMAND, [*words, f"--out={folder}"]))
    return str(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where images and dataset go")
    print(build(parser.parse_args().folder))
