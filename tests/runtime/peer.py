"""One of several processes under the watchdog, for test_watchdog.py: joins the others and adds with them.

`python -m tests.runtime.peer FAULT NUMBER COUNT PORT WORKDIR START_LIMIT STEP_LIMIT`; FAULT is WHAT@NUMBER, or nothing.
"""

import os
import signal
import sys
import time
from pathlib import Path

import jax

from ltpml_jax.runtime import watchdog

FAULT_AT = 10


def joined(number: int, count: int, port: str) -> None:
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        f"localhost:{port}", count, number, cluster_detection_method="deactivate",
        initialization_timeout=240, heartbeat_timeout_seconds=600,
    )  # fmt: skip


def fault(kind: str) -> None:
    if kind == "sleep":
        time.sleep(600)
    elif kind == "raise":
        raise RuntimeError("picture 7 is broken")
    elif kind in ("kill", "stop", "nap"):
        os.kill(os.getpid(), signal.SIGKILL if kind == "kill" else signal.SIGSTOP)


def steps(mine: str, count: int) -> None:
    from jax.experimental import multihost_utils

    for step in range(10**6):
        if step == FAULT_AT:
            fault(mine)
        watchdog.beat(f"batch {step} read")
        if count > 1:
            multihost_utils.process_allgather(jax.numpy.ones(()))
        if step == 0:
            watchdog.started()
        watchdog.beat(f"step {step}")
        if mine in ("end", "nap") and step == 3 * FAULT_AT:
            return
        time.sleep(0.02)


def main() -> None:
    kind, number, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    mine = kind.partition("@")[0] if kind.endswith(f"@{number}") or kind == "end" else ""
    try:
        with watchdog.watching(Path(sys.argv[5]), number, count, float(sys.argv[6]), float(sys.argv[7])):
            watchdog.beat("import")
            if mine == "vanish":  # while the others wait for it to join; it has written a few heartbeats
                time.sleep(10)
                os.kill(os.getpid(), signal.SIGKILL)
            if count > 1:
                joined(number, count, sys.argv[4])
            steps(mine, count)
    except Exception as error:  # also what gloo raises where the other end is gone
        watchdog.give_up(f"process {number} failed ({type(error).__name__})")


if __name__ == "__main__":
    main()
