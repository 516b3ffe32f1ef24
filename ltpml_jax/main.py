"""Train: `python -m ltpml_jax.main --config=configs/digits_mlt.py:0.3 --workdir=DIR [--config.x=y]`."""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from ltpml_jax import train
from ltpml_jax.cli import launch

CONFIG = config_flags.DEFINE_config_file("config", help_string="Config file, after a colon its argument.")
WORKDIR = flags.DEFINE_string("workdir", "", "Directory of the run; the same command again goes on there.")


def main(argv: list[str]) -> None:
    """Run the config; the flags are parsed by now."""
    train.run(CONFIG.value, Path(WORKDIR.value))


if __name__ == "__main__":
    launch(main, required=("config", "workdir"))
