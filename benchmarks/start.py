"""Where the time goes from the command to the first step on digits_mlt, part by part.

python -m benchmarks.start [--method=ndlp] [--repeats=3] [--busy]

Every start is a process of its own, alternately with an empty and with a filled cache of compiled programs; medians of
the wall clock and of the CPU time of all threads, in seconds. The parts are those of `trainer.train`, in its order.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks import machine
from ltpml_jax.runtime import startup

EVENTS = {  # of jax.monitoring -> what the table calls them
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling or loading",
}
Seconds = dict[str, tuple[float, float]]  # wall clock and CPU by part


class Clock:
    """Time since the process was started, by part."""

    def __init__(self, began: float) -> None:
        self.wall, self.cpu = began, 0.0
        self.parts: Seconds = {}

    def end(self, part: str) -> None:
        """What passed since the last end belongs to `part`."""
        wall, cpu = time.time(), time.process_time()
        self.parts[part] = (wall - self.wall, cpu - self.cpu)
        self.wall, self.cpu = wall, cpu


def start(method: str, began: float) -> Seconds:
    """Everything up to the end of the first step, in this process."""
    clock, spent = Clock(began), Counter()
    startup.begin()
    import jax

    from configs import digits_mlt
    from ltpml_jax import trainer  # noqa: F401  (importing it is timed)
    from ltpml_jax.data import loader, task
    from ltpml_jax.experiment import assemble, choose_devices, fresh_state, steps_by_epoch
    from ltpml_jax.runtime import compile_cache
    from ltpml_jax.state import make_mesh

    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration_secs, **_: spent.update({EVENTS.get(event, "other"): duration_secs})
    )
    clock.end("imports")
    compile_cache.enable()
    config = digits_mlt.get_config(f"0.3,method={method}")
    mesh = make_mesh(choose_devices(config))
    made = task.make_task(config)
    clock.end("devices, data")
    run = assemble(config, made, Path(), mesh, "named")
    clock.end("network")
    state = jax.block_until_ready(fresh_state(run))
    clock.end("first state")
    batch, _ = next(loader.train_feed(config, made, mesh, loader.train_iterator(config, made, mesh)))
    clock.end("first batch")
    jax.block_until_ready(steps_by_epoch(run)(0)(state, batch))
    clock.end("first step")
    return clock.parts | {f"of all: {part}": (float(spent[part]), math.nan) for part in EVENTS.values()}


def child(method: str, cache: str) -> Seconds:
    """A start in a process of its own, with compiled programs in this folder."""
    call = [sys.executable, "-m", "benchmarks.start", f"--method={method}", f"--began={time.time()}"]
    done = subprocess.run(
        call, env=os.environ | {"XDG_CACHE_HOME": cache}, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def medians(runs: list[Seconds], part: str) -> tuple[float, ...]:
    """Wall clock and CPU time of a part."""
    return tuple(statistics.median(run[part][kind] for run in runs) for kind in (0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="ndlp")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--busy", action="store_true", help="on a busy machine too")
    parser.add_argument("--began", type=float, default=0.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.began:
        print(json.dumps(start(arguments.method, arguments.began)))
        return
    note, found = machine.load_note(busy_too=arguments.busy), {"empty": [], "filled": []}
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as cache:
            for name in found:
                found[name].append(child(arguments.method, cache))
    print(f"{arguments.method} on digits_mlt, {note}, medians of {arguments.repeats}: seconds (CPU seconds)")
    print(f"{'':28}{'empty cache':>20}{'filled cache':>20}")
    rows = {part: [medians(runs, part) for runs in found.values()] for part in found["empty"][0]}
    timed = [cells for part, cells in rows.items() if not part.startswith("of all")]
    rows["together"] = [tuple(map(sum, zip(*column, strict=True))) for column in zip(*timed, strict=True)]
    for part, cells in rows.items():
        texts = [f"{wall:.2f}" + ("" if math.isnan(cpu) else f" ({cpu:.2f})") for wall, cpu in cells]
        print(f"{part:28}" + "".join(f"{text:>20}" for text in texts))


if __name__ == "__main__":
    main()
