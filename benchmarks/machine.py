"""How busy the machine is that a benchmark runs on.

Two programs that share their cores with others do not lose the same share of their time, so that the ratio of their
times says little. A table of ratios is therefore refused on a busy machine, or says that it was.
"""

import os
import sys

BUSY = 0.5  # load a core above which a machine counts as busy


def load_note(busy_too: bool) -> str:
    """The load average of the last minute by core, in the words of a table; called before anything is measured.

    On a busy machine the note says so if `busy_too`; else one sentence goes to stderr and the program ends with
    status 2.
    """
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    if load <= BUSY:
        return f"load {load:.2f} a core"
    if busy_too:
        return f"on a busy machine: load {load:.2f} a core"
    print(
        f"error: The load is {load:.2f} a core, and ratios of times mean little above {BUSY}; wait until the machine "
        "is idle, or add --busy, which the table will mention.",
        file=sys.stderr,
    )
    raise SystemExit(2)
