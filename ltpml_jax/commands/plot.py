"""Draw what finished runs came to: `ltpml plot --workdir=A[,B,...] [--out=DIR] [--format=png|svg]`."""

import importlib.util
from pathlib import Path
from typing import Any

from absl import flags

from ltpml_jax.cli import Command
from ltpml_jax.commands import compare
from ltpml_jax.errors import UserError

FORMATS = ("png", "svg")
FOLDER = "plots"  # in the work directory of a single run
INSTALL = 'pip install "ltpml_jax[plot]"'
NOTE = "Each plot has its numbers beside it as .csv; docs/plots.md says how to read them."


def define(values: flags.FlagValues) -> None:
    """The command's flags."""
    folders = "Directories of finished runs, or of sweeps; may also be given without --workdir=."
    flags.DEFINE_list("workdir", [], folders, values)
    out = f"The folder to write; plots that are there are replaced. Of one run: {FOLDER} in its directory."
    flags.DEFINE_string("out", "", out, values)
    flags.DEFINE_enum("format", "png", FORMATS, "What the pictures are.", values)
    flags.DEFINE_string("data_dir", "", "Where the prepared dataset lies, if not where the runs had it.", values)


def problems(values: Any) -> list[str]:
    """A sentence where several runs have no folder to go to."""
    from ltpml_jax.workdir import join_names

    if len(join_names(values.workdir)) > 1 and not values.out:
        return ["--out is missing; plots of several runs need a folder."]
    return []


def run(values: Any) -> None:
    """Write the plots and print which; UserError without matplotlib, and for runs that cannot be plotted."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError(f"`ltpml plot` needs matplotlib, which is not installed: {INSTALL}.")
    from ltpml_jax.plotting import plot_folder, plotted_run
    from ltpml_jax.runtime import result_folder
    from ltpml_jax.workdir import join_names

    folders = join_names(values.workdir)
    out = Path(values.out) if values.out else Path(folders[0]) / FOLDER
    result_folder.check(out, plot_folder.MARK)  # before what takes long
    workdirs = [path for folder in folders for path in compare.runs_of(Path(folder))]
    files = plot_folder.write(plotted_run.gather(workdirs, values.data_dir), out, values.format)
    print(f"Written to {out}: {', '.join(files)}")


COMMAND = Command(
    "Draw finished runs: curves, AP by frequency, reliability, beliefs.",
    define,
    ("workdir",),
    run,
    problems,
    NOTE,
    words="workdir",
    compiles=True,
)
