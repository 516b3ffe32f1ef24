"""Draw the README's picture from a run: `python docs/picture.py --workdir=runs/digits --out=docs/run.png`.

Needs matplotlib (`pip install -e .[plot]`). Left: loss and validation mAP by epoch. Right: training scenes with their
candidate labels; bars are the soft labels that NDLP has come to, the dotted line is where all of them began.
"""

import argparse
from pathlib import Path

from ltpml_jax.errors import UserError
from ltpml_jax.plotting import beliefs, canvas, curves, plotted_run
from ltpml_jax.plotting.plotted_run import Trained


def main() -> None:
    """Read the run, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="directory of a finished run of NDLP")
    parser.add_argument("--out", required=True, help="the .png to write")
    arguments = parser.parse_args()
    try:
        (run,) = plotted_run.gather([arguments.workdir])
    except UserError as error:
        parser.error(str(error))
    if not isinstance(run.trained, Trained) or not run.trained.images:
        parser.error(f"{arguments.workdir} shows no beliefs ({run.trained}); give a run of NDLP whose dataset is there")
    figure = canvas.blank(13, 5.6)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 3))
    curves.draw(left, {run.label: run.epochs}, curves.PANELS[:2], across=1)
    beliefs.draw(right, run.trained.images, run.trained.shared)
    figure.savefig(arguments.out, dpi=90)


if __name__ == "__main__":
    main()
