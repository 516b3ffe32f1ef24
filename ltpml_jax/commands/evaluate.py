"""Evaluate a finished or unfinished run again, on one device: `python -m ltpml_jax.evaluate --workdir=DIR`."""

from pathlib import Path

import jax
from absl import flags

from ltpml_jax import checkpoints, outcome
from ltpml_jax.cli import launch
from ltpml_jax.config import saved, validate
from ltpml_jax.setup import prepare
from ltpml_jax.state import make_mesh

WORKDIR = flags.DEFINE_string("workdir", "", "Directory of the run.")
DATA = flags.DEFINE_string("data_dir", "", "Where the prepared dataset lies, if not where the run had it.")
PER_CLASS = flags.DEFINE_bool("per_class", False, "Also print the average precision of every class.")


def main(argv: list[str]) -> None:
    """Print the run's table from its checkpoints."""
    workdir = Path(WORKDIR.value)
    config = saved(workdir)
    if DATA.value:
        config.data.dir = DATA.value
    validate(config)
    this = prepare(config, workdir, make_mesh(jax.local_devices()[:1]), pretrained=False)
    with checkpoints.open_manager(workdir, read_only=True) as manager:
        found = outcome.show(this, manager)
    if PER_CLASS.value:
        outcome.show_classes(this, found)


if __name__ == "__main__":
    launch(main, required=("workdir",))
