"""Heartbeats: what each process writes of itself to a small file, and what these say of who is silent or behind."""

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

# By a UserError; by another error, which other processes may have caused; because of another process.
ENDED, FAILED, GAVE_UP = ENDS = ("ended", "failed", "gave up")


class Heartbeat(NamedTuple):
    """How often a process has finished something, the last time `what`, `seconds` ago; how it ended, "" for not yet."""

    name: str
    beats: int
    what: str
    seconds: float
    end: str = ""


def read(folder: Path) -> dict[int, Heartbeat]:
    """The heartbeats that are there and whole, by the process's number."""
    found = {}
    for path in folder.glob("*.json"):  # a listing shows what a network file system remembers as missing
        with suppress(OSError, ValueError, TypeError):
            found[int(path.stem)] = Heartbeat(*json.loads(path.read_text(encoding="utf-8")))
    return dict(sorted(found.items()))


class Silence:
    """Whether another process has fallen silent, by readings of all heartbeats one after the other.

    The limit for each is its own: LEAST seconds, or five times the longest that it once took to write again; before it
    has written twice, UNSURE seconds, as a network file system may show the second heartbeat a minute late.
    """

    LEAST, UNSURE = 15.0, 90.0

    def __init__(self, own: int) -> None:
        """Of process `own`; nothing is read yet."""
        self.own = own
        self.seen: dict[int, tuple[Heartbeat, float, float]] = {}  # the last one, since when, the longest gap

    def lost(self, now: float, found: dict[int, Heartbeat]) -> bool:
        """Take in the reading of the time `now` in seconds; whether a process has been silent beyond its limit."""
        for number, heartbeat in found.items():
            last, since, gap = self.seen.get(number, (None, now, 0.0))
            if heartbeat != last:
                self.seen[number] = (heartbeat, now, max(gap, now - since))
        limits = {n: max(self.LEAST, 5 * gap) if gap else self.UNSURE for n, (_, _, gap) in self.seen.items()}
        return any(now - self.seen[number][1] > limit for number, limit in limits.items() if number != self.own)


def blame(own: int, count: int, first: dict[int, Heartbeat], later: dict[int, Heartbeat]) -> tuple[str, bool]:
    """(which of `count` processes is to blame, whether that is certainly not process `own`); "" where none is.

    first, later: two readings, far enough apart for every process that lives to have written in between. Certain are
    others that are silent or ENDED, else others that FAILED; then come who is behind, perhaps `own`, and who GAVE_UP.
    """
    others = [one for number, one in later.items() if number != own]
    absent = sorted(set(range(count)) - {own, *later})
    silent = [one for one in others if not one.end and one in first.values()]
    lost = [f"process {number} has sent no heartbeat (not started, or another --workdir)" for number in absent]
    lost += [f"{one.name} is silent, last seen at {one.what!r}" for one in silent]
    by = {end: [f"{one.name} {one.end}" for one in others if one.end.startswith(end)] for end in ENDS}
    fewest = min((one.beats for one in later.values()), default=0)
    behind = [f"{one.name} is at {one.what!r} for {one.seconds:.0f} s" for one in later.values() if one.beats == fewest]
    ahead = Counter(one.what for one in later.values() if one.beats > fewest).most_common(1)
    behind = [*behind[:-1], f"{behind[-1]}, the others at {ahead[0][0]!r}"] if ahead else []
    certain = lost + by[ENDED] or by[FAILED]
    found = certain or behind or by[GAVE_UP]
    return "; ".join(found[:4]) + (f"; and {len(found) - 4} more" if len(found) > 4 else ""), bool(certain)
