"""The command line, for the notebooks beside this file."""

import subprocess
import sys


def ltpml(*words: object) -> None:
    """Do what `ltpml WORDS` does, and print its table, or last line; raises CalledProcessError where it fails."""
    done = subprocess.run([sys.executable, "-m", "ltpml_jax", *map(str, words)], capture_output=True, text=True)
    print(done.stderr if done.returncode else done.stdout or done.stderr.splitlines()[-1])
    done.check_returncode()
