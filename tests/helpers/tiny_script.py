"""`python -m tests.helpers.tiny_script FILE`: a program as it stands, but on a network that compiles quickly.

Whatever weights it names are left out.
"""

import runpy
import sys
from unittest import mock

from ltpml_jax import experiment
from tests.helpers import tiny

if __name__ == "__main__":
    with tiny.everywhere(), mock.patch.object(experiment, "load_backbone"):
        runpy.run_path(sys.argv[1], run_name="__main__")
