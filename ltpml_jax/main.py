"""Train: `python -m ltpml_jax.main --config=configs/digits_mlt.py:0.3 --workdir=DIR`, the same as `ltpml train`."""

import signal
import sys

from ltpml_jax.runtime import preemption

if __name__ == "__main__":
    signal.signal(signal.SIGINT, preemption.end_at_once)  # also while the rest is imported
    from ltpml_jax import cli
    from ltpml_jax.commands import train

    cli.start("train", train.COMMAND, sys.argv[1:])
