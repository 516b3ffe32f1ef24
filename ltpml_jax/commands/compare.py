"""Compare finished runs: `ltpml compare WORKDIR... [--by=FIELD] [--within=FIELD] [--format=FORMAT] [--out=FILE]`.

A WORKDIR may be the folder of a sweep, which stands for its finished runs. Nothing but the work directories is read.
"""

import sys
from pathlib import Path
from typing import Any

from absl import flags

from ltpml_jax.cli import Command
from ltpml_jax.commands import sweep
from ltpml_jax.errors import UserError

FORMATS = ("text", "markdown", "html")
NOTE = (
    "Differences come with 95 % intervals and p values of a paired bootstrap over the test images; the runs are fixed. "
    "docs/compare.md says how to read them."
)


def define(values: flags.FlagValues) -> None:
    """The command's flags."""
    folders = "Directory of a finished run, or of a sweep; may also be given without --workdir=."
    flags.DEFINE_multi_string("workdir", [], folders, flag_values=values)
    by = "Config fields that group the runs; without it, all but the seeds."
    flags.DEFINE_list("by", [], by, flag_values=values)
    within = "Config fields whose values part the runs: those of each part are compared by themselves."
    flags.DEFINE_list("within", [], within, flag_values=values)
    flags.DEFINE_enum("format", "text", FORMATS, "How the tables are written.", values)
    flags.DEFINE_string("out", "", "The file to write; without it, they are printed.", values)


def run(values: Any) -> None:
    """Print or write the comparison; UserError for runs that cannot be compared."""
    from ltpml_jax.evaluation import comparison, comparison_report
    from ltpml_jax.runtime.files import check_new, write_atomic, writing

    if values.out:
        check_new(Path(values.out))
    workdirs = [path for folder in values.workdir for path in runs_of(Path(folder))]
    parts = comparison.partition(workdirs, values.within)
    compared = {title: comparison.compare(part, values.by) for title, part in parts.items()}
    found = comparison_report.FORMATS[values.format](compared)
    if not values.out:
        print(found)
        return
    with writing(f"The file {values.out}", "give another --out"):
        write_atomic(Path(values.out), found + "\n")


def runs_of(folder: Path) -> list[Path]:
    """The work directory itself, or the finished runs of a sweep; UserError for a sweep without any."""
    if (folder / "config.json").exists() or not (folder / sweep.FILE).exists():
        return [folder]
    listed = [folder / one["name"] for one in sweep.earlier(folder)]
    done = [path for path in listed if sweep.finished(path)]
    if not done:
        raise UserError(f"No run of the sweep in {folder} is finished; run its command again.")
    if len(done) < len(listed):
        left = f"{len(listed) - len(done)} of {len(listed)} runs are not finished, and left out"
        print(f"{folder}: {left}", file=sys.stderr)
    return done


COMMAND = Command(
    "Compare finished runs: means, differences, intervals.", define, ("workdir",), run, note=NOTE, words="workdir"
)
