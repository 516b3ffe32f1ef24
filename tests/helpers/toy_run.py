"""One process of runs whose methods are the toys: `python -m tests.helpers.toy_run FOLDER CHANGES`.

One after the other, each in the folder of its name, on the network of tiny.py, and with JAX's variables of a run of
several processes; CHANGES is JSON of a config's fields.
"""

import json
import sys
from pathlib import Path

from configs import digits_mlt
from ltpml_jax import trainer
from ltpml_jax.runtime import processes
from tests.helpers import tiny
from tests.helpers.toys import TOYS


def main() -> None:
    config = digits_mlt.get_config("0.3")
    config.update_from_flattened_dict(json.loads(sys.argv[2]))
    processes.join(False, 120, 60)
    with tiny.everywhere():
        for name, toy in TOYS.items():
            trainer.train(config, Path(sys.argv[1]) / name, method=toy())


if __name__ == "__main__":
    main()
