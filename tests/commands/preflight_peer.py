"""One of two processes that check their machines, for tests/commands/test_preflight.py.

`python -m tests.commands.preflight_peer WORKDIR DATA_DIR CHANGES` with JAX's variables of a run; CHANGES is JSON of a
config.
"""

import json
import sys
from pathlib import Path

from configs import digits_mlt
from ltpml_jax.commands import preflight_report
from ltpml_jax.runtime import processes


def main() -> None:
    config = digits_mlt.get_config("0.3")
    config.update_from_flattened_dict({"data.dir": sys.argv[2]} | json.loads(sys.argv[3]))
    processes.join(False, 120, 60)
    good = preflight_report.run(config, Path(sys.argv[1]), 8)
    print(f"good: {good}")


if __name__ == "__main__":
    main()
