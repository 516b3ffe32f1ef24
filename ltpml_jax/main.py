"""Train: `python -m ltpml_jax.main --config=configs/digits_mlt.py:0.3 --workdir=DIR`, the same as `ltpml train`."""

import sys

from ltpml_jax.runtime import startup

if __name__ == "__main__":
    with startup.command():
        from ltpml_jax import cli
        from ltpml_jax.commands import train

        cli.start("train", train.COMMAND, sys.argv[1:])
