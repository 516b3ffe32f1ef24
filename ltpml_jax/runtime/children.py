"""Child processes, some at a time, which end cleanly when this one is asked to stop."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_PAUSE = 0.1  # seconds between two looks at the children
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child(NamedTuple):
    """A process to start: its command line, and the file that its output is appended to."""

    command: Sequence[str]
    output: Path


class Ended(NamedTuple):
    """The number of a child, its exit status (128 + N for signal N), the last line that it wrote, seconds it took.

    asked: whether it was asked to stop.
    """

    number: int
    status: int
    line: str
    seconds: float
    asked: bool


class _Asked:
    """Which signal asked this process to stop, and how many came."""

    def __init__(self) -> None:
        self.signal, self.times = 0, 0

    def __call__(self, number: int, frame: object) -> None:
        self.signal, self.times = self.signal or number, self.times + 1


class _Active(NamedTuple):
    number: int
    process: subprocess.Popen[bytes]
    output: Path
    begin: int  # size of the output before
    since: float


def run(
    children: Sequence[Child],
    jobs: int,
    ended: Callable[[Ended], None],
    environment: Mapping[str, str],
    own_cores: bool = False,
) -> int:
    """Run children, `jobs` at a time in their order, and call `ended` after each; returns the signal that came, or 0.

    SIGINT (Ctrl-C), SIGTERM and SIGHUP are passed on as SIGTERM, at which a run saves and ends; no other child begins,
    and this function returns when all have ended. A second one kills them. own_cores: each of the `jobs` has its own
    share of this process's cores.
    """
    shares = np.array_split(sorted(os.sched_getaffinity(0)), jobs) if own_cores else [np.zeros(0, int)] * jobs
    waiting, active, answered = list(enumerate(children))[::-1], dict[int, _Active](), 0
    with _listening() as asked, _ending(active):
        while active or (waiting and not asked.times):
            for place in range(jobs):
                if waiting and place not in active and not asked.times:
                    active[place] = _start(*waiting.pop(), environment, shares[place])
            time.sleep(_PAUSE)
            if asked.times > answered:
                answered = asked.times
                _send([one.process for one in active.values()], signal.SIGTERM if answered == 1 else signal.SIGKILL)
            for place, one in list(active.items()):
                if one.process.poll() is not None:
                    ended(_end(active.pop(place), answered > 0))
    return asked.signal


def last_line(output: Path, begin: int = 0) -> str:
    """The last line with text that a file has after its byte `begin`; "" where there is none."""
    with output.open("rb") as file:
        file.seek(max(begin, output.stat().st_size - 10_000))
        lines = file.read().decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _start(number: int, child: Child, environment: Mapping[str, str], cores: np.ndarray) -> _Active:
    child.output.parent.mkdir(parents=True, exist_ok=True)
    with child.output.open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            child.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            process_group=0,  # else Ctrl-C would come to it too, beside the SIGTERM from here
        )
    if len(cores):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(process.pid, cores.tolist())
    return _Active(number, process, child.output, begin, time.monotonic())


def _end(one: _Active, asked: bool) -> Ended:
    code = one.process.returncode
    status = code if code >= 0 else 128 - code
    return Ended(one.number, status, last_line(one.output, one.begin), time.monotonic() - one.since, asked)


def _send(processes: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for process in processes:
        process.send_signal(number)  # does nothing where it has ended


@contextlib.contextmanager
def _ending(active: Mapping[int, _Active]) -> Iterator[None]:
    """Ends what is active when the block raises."""
    try:
        yield
    finally:
        _send([one.process for one in active.values()], signal.SIGTERM)
        for one in active.values():
            one.process.wait()


@contextlib.contextmanager
def _listening() -> Iterator[_Asked]:
    """In the block, signals are remembered; those that are ignored (nohup) stay so."""
    asked = _Asked()
    before = {one: signal.getsignal(one) for one in _SIGNALS}
    caught = [one for one, handler in before.items() if handler != signal.SIG_IGN]
    for one in caught:
        signal.signal(one, asked)
    try:
        yield asked
    finally:
        for one in caught:
            signal.signal(one, before[one])
