"""`python -m tests.helpers.tiny_main`: train as `python -m ltpml_jax.main` does, on a network that compiles quickly."""

import sys

from ltpml_jax.runtime import startup

if __name__ == "__main__":
    startup.begin()
    from ltpml_jax import cli
    from ltpml_jax.commands import train
    from tests.helpers import tiny

    with tiny.everywhere():
        cli.start("train", train.COMMAND, sys.argv[1:])
