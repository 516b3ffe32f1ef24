"""The command line, for the notebooks beside this file."""

import subprocess
import sys


def ltpml(*words: object) -> None:
    """Do what `ltpml WORDS` does, and print what it prints; raises CalledProcessError where it fails."""
    done = subprocess.run([sys.executable, "-m", "ltpml_jax", *map(str, words)], capture_output=True, text=True)
    print(done.stdout if done.returncode == 0 else done.stderr)
    done.check_returncode()
