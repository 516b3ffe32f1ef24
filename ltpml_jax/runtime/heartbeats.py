"""Signs of life: a small file of each process in the work directory, and what they say of who is silent or behind.

Nothing here needs JAX, which may be what hangs.
"""

import json
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from ltpml_jax.runtime.files import write_atomic

FOLDER = ".processes"
RUNNING, GAVE_UP, ENDED, FAILED = "running", "gave up", "ended", "failed"


class Sign(NamedTuple):
    """What process `number` says of itself.

    serial: counts its signs; beats: how often it got something done, the last time `what`, `seconds` ago; state:
    RUNNING; GAVE_UP, because of others; ENDED, by a UserError; or FAILED, by another error, which others may have
    caused. reason: that error.
    """

    number: int
    host: str
    pid: int
    serial: int
    beats: int
    what: str
    seconds: float
    state: str = RUNNING
    reason: str = ""

    def __str__(self) -> str:
        """The process for people."""
        return f"process {self.number} ({self.host})"


Signs = dict[int, Sign]


def path_of(folder: Path, number: int) -> Path:
    """The file of a process."""
    return folder / f"{number}.json"


def write(folder: Path, sign: Sign) -> None:
    """Put the sign in place of the process's last one, whole at any moment; OSError where that cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(path_of(folder, sign.number), json.dumps(sign._asdict()))


def read(folder: Path) -> Signs:
    """The signs that are there and whole."""
    signs = {}
    try:
        names = os.listdir(folder)  # which network file systems look up anew, unlike a file that was missing
    except OSError:
        return signs
    for name in names:
        if name.endswith(".json"):
            try:
                sign = Sign(**json.loads((folder / name).read_text()))
            except (OSError, ValueError, TypeError):
                continue
            signs[sign.number] = sign
    return signs


class Look(NamedTuple):
    """All that process `own` knows of the `processes`.

    before: the signs when it began, of which those that never changed are an earlier run's; first and later: two
    readings, far enough apart for every process that lives to have given another sign.
    """

    own: Sign
    processes: int
    before: Signs
    first: Signs
    later: Signs

    def silent(self) -> list[int]:
        """The processes that give no sign."""
        others = (number for number in range(self.processes) if number != self.own.number)
        return [number for number in others if self._is_silent(number)]

    def others_to_blame(self) -> list[str]:
        """Other processes that are silent or ended with an error, for people; of those that failed, only if nobody."""
        told = [self._of_silent(number) for number in self.silent()]
        told += [f"{sign} ended with {sign.reason!r}" for sign in self._others() if sign.state == ENDED]
        return told or [f"{sign} failed with {sign.reason!r}" for sign in self._others() if sign.state == FAILED]

    def complaint(self) -> str:
        """Who is to blame, else who (this process included) is behind, else who gave up; "" where that is nobody."""
        told = self.others_to_blame() or self._of_behind()
        return _first_few(told or [f"{sign} gave up" for sign in self._others() if sign.state == GAVE_UP])

    def position(self) -> str:
        """Where this process is."""
        return f"at {self.own.what!r} for {self.own.seconds:.0f} s"

    def _is_silent(self, number: int) -> bool:
        now = self.later.get(number)
        if now is None or now == self.before.get(number):
            return True
        return now.state == RUNNING and now == self.first.get(number)

    def _others(self) -> list[Sign]:
        """The newest signs of this run."""
        signs = [self.later[number] for number in range(self.processes) if number in self.later]
        return [sign for sign in signs if sign.number != self.own.number and sign != self.before.get(sign.number)]

    def _of_silent(self, number: int) -> str:
        now = self.later.get(number)
        if now is None or now == self.before.get(number):
            return f"process {number} gives no sign of life (it has not started, or sees another --workdir)"
        return f"{now} is silent, last heard of at {now.what!r}"

    def _of_behind(self) -> list[str]:
        seen = sorted([self.own, *self._others()])
        furthest = max(sign.beats for sign in seen)
        last = min(sign.beats for sign in seen)
        if last == furthest:
            return []
        rest = Counter(sign.what for sign in seen if sign.beats > last).most_common(1)[0][0]
        behind = [f"{sign} is at {sign.what!r} for {sign.seconds:.0f} s" for sign in seen if sign.beats == last]
        return [*behind[:-1], f"{behind[-1]}, the others at {rest!r}"]


def _first_few(told: list[str], most: int = 4) -> str:
    return "; ".join(told[:most]) + (f"; and {len(told) - most} more" if len(told) > most else "")
