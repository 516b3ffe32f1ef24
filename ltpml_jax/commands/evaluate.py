"""Evaluate a finished or unfinished run again, on one device: `ltpml evaluate --workdir=DIR`."""

from pathlib import Path
from typing import Any

from absl import flags

from ltpml_jax.cli import Command


def define(values: flags.FlagValues) -> None:
    """The command's flags."""
    flags.DEFINE_string("workdir", "", "Directory of the run.", values)
    flags.DEFINE_string("data_dir", "", "Where the prepared dataset lies, if not where the run had it.", values)
    flags.DEFINE_bool("per_class", False, "Also print the average precision of every class.", flag_values=values)
    kept = "Also write model.json and predictions-test.npz, which runs of earlier versions lack."
    flags.DEFINE_bool("predictions", False, kept, flag_values=values)


def run(values: Any) -> None:
    """Print the run's table from its checkpoints, and write what later commands read, where that is wanted.

    Raises UserError for a run that cannot be opened and, in the end, for lost lines of metrics.jsonl.
    """
    from ltpml_jax.config import validate
    from ltpml_jax.workdir import saved_config

    workdir = Path(values.workdir)
    config = saved_config(workdir)
    if values.data_dir:
        config.data.dir = values.data_dir
    validate(config)
    from ltpml_jax.evaluation import model_file, outcome
    from ltpml_jax.experiment import build_experiment
    from ltpml_jax.runtime import checkpoints, metrics_log
    from ltpml_jax.runtime.files import sole_run
    from ltpml_jax.runtime.processes import local_devices
    from ltpml_jax.state import make_mesh

    opened = build_experiment(config, workdir, make_mesh(local_devices()[:1]), "none")
    with checkpoints.open_manager(workdir, read_only=True) as manager:
        found = outcome.show(opened, manager)
    if values.per_class:
        outcome.show_classes(opened, found)
    if values.predictions:
        with sole_run(workdir):  # a run that is at work there writes them itself
            model_file.save(opened)
            outcome.keep_outputs(opened, found)
    metrics_log.check_whole(workdir, found.step, opened.task.steps_per_epoch)


COMMAND = Command("Print the table of a run again, from its checkpoints.", define, ("workdir",), run, compiles=True)
