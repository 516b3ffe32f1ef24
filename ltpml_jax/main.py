"""Train: `python -m ltpml_jax.main --config=configs/digits_mlt.py:0.3 --workdir=DIR [--config.x=y]`."""

import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from ltpml_jax import cluster, train, watchdog
from ltpml_jax.cli import launch
from ltpml_jax.commands import preflight
from ltpml_jax.config import validate

CONFIG = config_flags.DEFINE_config_file("config", help_string="Config file, after a colon its argument.")
WORKDIR = flags.DEFINE_string("workdir", "", "Directory of the run; the same command again goes on there.")
MULTIHOST = flags.DEFINE_bool("multihost", False, "Join the other hosts of a TPU pod; elsewhere that needs no flag.")
PREFLIGHT = flags.DEFINE_bool("preflight", False, "Check versions, devices, folders and data, and do not train.")


def main(argv: list[str]) -> None:
    """Run the config, together with the other processes of the run; the flags are parsed by now."""
    config, workdir = CONFIG.value, Path(WORKDIR.value)
    validate(config)
    start, step = config.train.start_limit, config.train.step_limit
    silence = min(max(step / 5, 10), 60) if step else 100  # seconds; 100 is JAX's own
    if MULTIHOST.value:
        cluster.join(True, start, silence)
    with watchdog.watching(workdir, *cluster.expected(), start, step):
        if not MULTIHOST.value:
            cluster.join(False, start, silence)
        if not PREFLIGHT.value:
            train.run(config, workdir)
        elif not preflight.run(config, workdir, start):
            sys.exit(2)


if __name__ == "__main__":
    launch(main, required=("config", "workdir"))
