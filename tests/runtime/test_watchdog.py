"""Time limits, with real processes that hang, stop, die or never come; and what the signs of life say."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ltpml_jax.errors import SharedError, UserError
from ltpml_jax.runtime import heartbeats, preemption, watchdog
from ltpml_jax.runtime.heartbeats import ENDED, FAILED, GAVE_UP, Look, Sign
from tests.runs import ROOT, environment

HOST = socket.gethostname()
# Far more than a step of the peers takes on a machine that does other things too, and all start at the same time.
LIMIT = 5
SLACK = 25  # for finding out whose fault it is, and for a slow machine
# name -> (fault, how many processes there should be, which of them are started, start limit)
CASES = {
    "sleeps": ("sleep@1", 2, (0, 1), 200),
    "stopped": ("stop@1", 2, (0, 1), 200),
    "killed": ("kill@1", 2, (0, 1), 200),
    "first_killed": ("kill@0", 2, (0, 1), 200),
    "raises": ("raise@1", 2, (0, 1), 200),
    "never_started": ("", 2, (0,), LIMIT),
    "first_never_started": ("", 2, (1,), LIMIT),
    "alone": ("sleep@0", 1, (0,), 200),
    "ends": ("end", 2, (0, 1), 200),
}


class Ended:
    """How a process ended: its status, its standard error, and when."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.status, self.error, self.at = None, "", 0.0
        self.process = process
        self.thread = threading.Thread(target=self._wait, daemon=True)
        self.thread.start()

    def _wait(self) -> None:
        self.error = self.process.communicate()[1]
        self.status, self.at = self.process.returncode, time.monotonic()

    def joined(self, seconds: float) -> "Ended":
        self.thread.join(seconds)
        return self

    def sentence(self) -> str:
        assert self.status == 75, self.error
        last = self.error.splitlines()[-1]
        assert last.startswith("error: ") and self.error.count("error: ") == 1, self.error
        return last


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("localhost", 0))
        return bound.getsockname()[1]


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """All cases at once, as they mostly wait."""
    folder, found = tmp_path_factory.mktemp("peers"), {}
    for name, (fault, count, numbers, start_limit) in CASES.items():
        port = free_port()
        for number in numbers:
            told = [fault, number, count, port, folder / name, start_limit, LIMIT]
            command = [sys.executable, "-m", "tests.runtime.peer", *map(str, told)]
            process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
            found[name, number] = Ended(process)
    yield lambda name, number, wait=True: found[name, number].joined(240 * wait)
    for end in found.values():
        if end.process.poll() is None:
            end.process.kill()


@pytest.mark.parametrize("number", [0, 1])
def test_one_that_sleeps_in_its_input_is_named_by_all_itself_included(ended, number):
    sentence = ended("sleeps", number).sentence()
    assert f"process 1 ({HOST}) is at 'step 9' for " in sentence and "the others at 'batch 10 read'" in sentence
    lost = number == 0 and "Process 0 failed (ValueError): " in sentence  # process 1 has ended a moment before
    assert lost or ("(config.train.step_limit)" in sentence and "process 0" not in sentence)
    assert "goes on from the newest checkpoint" in sentence


def test_one_that_is_stopped_is_named_and_ends_too_when_it_goes_on(ended):
    sentence = ended("stopped", 0).sentence()
    assert f"process 1 ({HOST}) is silent, last heard of at '" in sentence
    os.kill(ended("stopped", 1, wait=False).process.pid, signal.SIGCONT)
    assert f"process 0 ({HOST}) gave up" in ended("stopped", 1).sentence()


@pytest.mark.parametrize(("name", "dead"), [("killed", 1), ("first_killed", 0)])
def test_the_survivor_of_a_killed_one_names_it(ended, name, dead):
    survivor, victim = ended(name, 1 - dead), ended(name, dead)
    assert f"process {dead} ({HOST}) is silent" in survivor.sentence()
    assert victim.status == -signal.SIGKILL and 0 < survivor.at - victim.at < LIMIT + SLACK


def test_one_that_ended_with_an_error_is_named_with_it(ended):
    assert f"process 1 ({HOST}) failed with 'picture 7 is broken'" in ended("raises", 0).sentence()
    assert "Process 1 failed (RuntimeError)" in ended("raises", 1).sentence()


@pytest.mark.parametrize(("name", "there"), [("never_started", 0), ("first_never_started", 1)])
def test_one_that_never_starts_is_named(ended, name, there):
    sentence = ended(name, there).sentence()
    assert f"process {1 - there} gives no sign of life" in sentence and "(config.train.start_limit)" in sentence


def test_a_process_alone_says_where_it_hangs(ended):
    sentence = ended("alone", 0).sentence()
    assert f"Nothing was finished for {LIMIT} s (config.train.step_limit): the last thing done was 'step 9'" in sentence


def test_processes_that_end_well_leave_nothing_behind(ended, tmp_path_factory):
    for number in (0, 1):
        assert ended("ends", number).status == 0, ended("ends", number).error
    workdir = Path(next(arg for arg in ended("ends", 0).process.args if arg.endswith("/ends")))
    assert list(workdir.iterdir()) == []


def sign(number: int, serial: int = 1, beats: int = 5, **rest) -> Sign:
    return Sign(number, f"host{number}", 7, serial, beats, f"step {beats}", 61.0, **rest)


def look(*later: Sign, before=(), first=(), processes: int = 3) -> Look:
    before, first, later_ = ({s.number: s for s in signs} for signs in (before, first, later))
    return Look(sign(0), processes, before, first, later_)


def test_who_gave_another_sign_and_as_many_beats_is_not_to_blame():
    found = look(sign(1, 2), sign(2, 2), first=[sign(1), sign(2)])
    assert found.silent() == [] and found.complaint() == "" and found.position() == "at 'step 5' for 61 s"


def test_the_files_of_an_earlier_run_are_no_signs_of_life():
    old = sign(1, state=ENDED, reason="an earlier error")
    found = look(old, sign(2, 2), before=[old], first=[old, sign(2)])
    assert found.silent() == [1]
    assert found.complaint().startswith("process 1 gives no sign of life")


def test_the_silent_and_the_ended_come_before_those_who_are_behind_and_those_who_gave_up():
    silent, behind, gave_up = sign(1), sign(2, 9, beats=4), sign(2, 9, state=GAVE_UP)
    ended_ = sign(2, 9, state=ENDED, reason="no space")
    assert look(silent, behind, first=[sign(1)]).complaint() == "process 1 (host1) is silent, last heard of at 'step 5'"
    assert "process 2 (host2) ended with 'no space'" in look(silent, ended_, first=[sign(1)]).complaint()
    failed = sign(2, 9, state=FAILED, reason="peer closed")  # which may be what came of the first's silence
    assert "process 2" not in look(silent, failed, first=[sign(1)]).complaint()
    assert look(sign(1, 2), failed).complaint() == "process 2 (host2) failed with 'peer closed'"
    one_back = look(sign(1, 2), behind).complaint()
    assert one_back == "process 2 (host2) is at 'step 4' for 61 s, the others at 'step 5'"
    assert look(silent, gave_up, first=[sign(1), gave_up]).silent() == [1]
    assert look(sign(1, 2), gave_up, first=[gave_up]).complaint() == "process 2 (host2) gave up"


def test_of_many_silent_ones_a_few_are_named():
    assert look(processes=100).complaint().count("process ") == 4
    assert look(processes=100).complaint().endswith("; and 95 more")


def test_broken_files_are_no_signs(tmp_path):
    heartbeats.write(tmp_path, sign(1))
    (tmp_path / "2.json").write_text('{"number": 2')
    (tmp_path / "3.json").write_text("[1]")
    assert heartbeats.read(tmp_path) == {1: sign(1)} and heartbeats.read(tmp_path / "absent") == {}


def test_without_limits_nothing_watches(tmp_path):
    before = threading.active_count()
    with watchdog.watching(tmp_path, 0, 2, 0, 0):
        watchdog.beat("something")
        watchdog.started()
        assert threading.active_count() == before and "config.train.step_limit" in watchdog.blame()
    assert list(tmp_path.iterdir()) == []


def test_a_run_alone_writes_no_files_and_its_thread_ends_with_the_block(tmp_path):
    before = set(threading.enumerate())
    with watchdog.watching(tmp_path, 0, 1, 60, 60):
        watched = set(threading.enumerate()) - before
        assert len(watched) == 1
    for thread in watched:
        thread.join(60)
    assert list(tmp_path.iterdir()) == [] and not any(thread.is_alive() for thread in watched)


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (UserError("a sentence"), (ENDED, "a sentence")),
        (KeyError(), (FAILED, "KeyError")),
        (SharedError("known to all"), None),
        (preemption.PreemptedError(), None),
        (SystemExit(0), None),
    ],
)
def test_what_ended_the_block_stays_for_the_others_to_read(tmp_path, error, kept):
    with pytest.raises(type(error)), watchdog.watching(tmp_path, 1, 2, 60, 60):
        watchdog.beat("one")
        raise error
    signs = heartbeats.read(tmp_path / heartbeats.FOLDER)
    assert [(s.state, s.reason) for s in signs.values()] == ([kept] if kept else [])


def test_after_an_error_the_others_can_still_be_blamed(tmp_path):
    with pytest.raises(ValueError), watchdog.watching(tmp_path, 0, 2, 0, 1):
        raise ValueError("connection closed")
    assert watchdog.blame().startswith("process 1 gives no sign of life")
    assert heartbeats.read(tmp_path / heartbeats.FOLDER)[0].state == GAVE_UP
    with watchdog.watching(tmp_path, 0, 1, 60, 60):
        pass
    assert watchdog.blame().startswith("which process is not known")


def test_blame_names_the_silent_one_and_the_block_goes_on(tmp_path):
    with watchdog.watching(tmp_path, 0, 2, 0, 1):  # the limit does not hold before `started`
        assert re.match("process 1 gives no sign of life", watchdog.blame())
        assert os.getpid() == heartbeats.read(tmp_path / heartbeats.FOLDER)[0].pid


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    with watchdog.watching(tmp_path / "file", 0, 2, 60, 60):
        watchdog.beat("something")
