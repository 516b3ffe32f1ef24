"""Time limits, with real processes that hang, stop, die or never come."""

import os
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
from tests.helpers.runs import ROOT, environment

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
    "vanishes": ("vanish@1", 2, (0, 1), 200),
    "raises": ("raise@1", 2, (0, 1), 200),
    "never_started": ("", 2, (0,), LIMIT),
    "first_never_started": ("", 2, (1,), LIMIT),
    "alone": ("sleep@0", 1, (0,), 200),
    "naps": ("nap@0", 1, (0,), 200),
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

    def wake(self, seconds: float) -> None:
        """Let a process that has stopped itself continue after so many seconds."""
        state = Path(f"/proc/{self.process.pid}/stat")
        while self.process.poll() is None and state.read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.1)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def sentence(self) -> str:
        assert self.status == 75, self.error
        last = self.error.splitlines()[-1]
        assert last.startswith("error: ") and self.error.count("error: ") == 1, self.error
        return last

    def stacks(self) -> str:
        """Where the process was, by the file that its sentence names."""
        return Path(self.sentence().removesuffix(".").rpartition("; where this process stood is in ")[2]).read_text()


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
            (folder / name).mkdir(exist_ok=True)
            arguments = [fault, number, count, port, folder / name, start_limit, LIMIT]
            command = [sys.executable, "-m", "tests.runtime.peer", *map(str, arguments)]
            process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
            found[name, number] = Ended(process)
    found["naps", 0].wake(2 * LIMIT)
    yield lambda name, number, wait=True: found[name, number].joined(240 * wait)
    for end in found.values():
        if end.process.poll() is None:
            end.process.kill()


def blocking_line(code: str) -> str:
    """How a stack names the line of peer.py that has this code."""
    lines = (ROOT / "tests" / "runtime" / "peer.py").read_text().splitlines()
    (number,) = (number for number, line in enumerate(lines, 1) if code in line)
    return f'tests/runtime/peer.py", line {number} in '


@pytest.mark.processes
@pytest.mark.parametrize("number", [0, 1])
def test_one_that_sleeps_in_its_input_is_named_by_all_itself_included(ended, number):
    sentence = ended("sleeps", number).sentence()
    assert f"process 1 ({HOST}) is at 'step 9' for " in sentence and "the others at 'batch 10 read'" in sentence
    lost = number == 0 and "Process 0 failed (ValueError): " in sentence  # process 1 has ended a moment before
    assert lost or ("(config.train.step_limit)" in sentence and "process 0" not in sentence)
    assert "the same command resumes from the newest checkpoint" in sentence
    if number == 1:
        assert blocking_line("time.sleep(600)") in ended("sleeps", 1).stacks()


@pytest.mark.processes
def test_one_that_is_stopped_is_named_and_ends_too_when_it_continues(ended):
    sentence = ended("stopped", 0).sentence()
    assert f"process 1 ({HOST}) is silent, last seen at '" in sentence
    assert blocking_line("multihost_utils.process_allgather") in ended("stopped", 0).stacks()
    os.kill(ended("stopped", 1, wait=False).process.pid, signal.SIGCONT)
    assert f"process 0 ({HOST}) gave up" in ended("stopped", 1).sentence()


@pytest.mark.processes
@pytest.mark.parametrize(("name", "dead"), [("killed", 1), ("first_killed", 0)])
def test_the_survivor_of_a_killed_one_names_it(ended, name, dead):
    survivor, victim = ended(name, 1 - dead), ended(name, dead)
    assert f"process {dead} ({HOST}) is silent" in survivor.sentence()
    assert victim.status == -signal.SIGKILL and 0 < survivor.at - victim.at < LIMIT + SLACK


@pytest.mark.processes
def test_the_others_do_not_wait_for_one_that_is_lost_while_they_start(ended):
    survivor, victim = ended("vanishes", 0), ended("vanishes", 1)
    assert "A process was lost while the run started" in survivor.sentence()
    assert f"process 1 ({HOST}) is silent, last seen at 'import'" in survivor.sentence()
    assert victim.status == -signal.SIGKILL
    assert survivor.at - victim.at < heartbeats.Silence.LEAST + SLACK


@pytest.mark.processes
def test_one_that_ended_with_an_error_is_named_with_it(ended):
    assert f"process 1 ({HOST}) failed with 'picture 7 is broken'" in ended("raises", 0).sentence()
    assert "Process 1 failed (RuntimeError)" in ended("raises", 1).sentence()


@pytest.mark.processes
@pytest.mark.parametrize(("name", "there"), [("never_started", 0), ("first_never_started", 1)])
def test_one_that_never_starts_is_named(ended, name, there):
    sentence = ended(name, there).sentence()
    assert f"process {1 - there} has sent no heartbeat" in sentence and "(config.train.start_limit)" in sentence


@pytest.mark.processes
def test_a_process_alone_says_where_it_hangs(ended):
    sentence = ended("alone", 0).sentence()
    assert f"Nothing was finished for {LIMIT} s (config.train.step_limit): the last thing done was 'step 9'" in sentence
    assert blocking_line("time.sleep(600)") in ended("alone", 0).stacks()


@pytest.mark.processes
def test_time_in_which_a_process_was_suspended_does_not_count(ended):
    assert ended("naps", 0).status == 0, ended("naps", 0).error


@pytest.mark.processes
def test_processes_that_end_well_leave_nothing_behind(ended, tmp_path_factory):
    for number in (0, 1):
        assert ended("ends", number).status == 0, ended("ends", number).error
    workdir = Path(next(arg for arg in ended("ends", 0).process.args if arg.endswith("/ends")))
    assert list(workdir.iterdir()) == []


HOLD = """
import ctypes, sys
from pathlib import Path
from ltpml_jax.runtime import watchdog
hold = ctypes.PyDLL(None).usleep  # as C code does that waits for something and keeps the interpreter's lock
with watchdog.watching(Path(sys.argv[1]), 0, 1, 1, 0):
    while True:
        hold(1_000_000)
"""


@pytest.mark.processes
def test_the_end_needs_no_lock_of_the_interpreter_after_the_sentence(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        lines = iter(process.stderr.readline, "")
        assert next(lines).startswith("error: The run did not start within 1 s (config.train.start_limit): ")
        printed = time.monotonic()
        assert process.wait(60) == 75 and time.monotonic() - printed < 0.8  # another thread gives it back after 1 s


ABORT = """
import ctypes, sys
from pathlib import Path
from ltpml_jax.runtime import watchdog
libc, thread = ctypes.CDLL(None), ctypes.c_ulong()
with watchdog.watching(Path(sys.argv[1]), 0, int(sys.argv[2]), 0, 60):
    watchdog.beat("one")
    libc.pthread_create(ctypes.byref(thread), None, libc.abort, None)  # a thread that Python does not know
    libc.pthread_join(thread, None)
"""


@pytest.mark.processes
@pytest.mark.parametrize("count,status", [(2, 75), (1, -signal.SIGABRT)])
def test_an_abort_of_a_foreign_thread_is_explained_where_a_process_is_lost_and_else_stays(tmp_path, count, status):
    command = [sys.executable, "-c", ABORT, str(tmp_path), str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == status, done.stderr
    if status == 75:
        assert done.stderr.startswith("error: The processes have lost each other: process 1 has sent no heartbeat")
        assert 'File "<string>", line 9 in <module>' in (tmp_path / "stacks.process-0.txt").read_text()
    else:
        assert done.stderr == "" and list(tmp_path.iterdir()) == []


def test_without_limits_nothing_ends_a_run(tmp_path):
    watch = watchdog.watching(tmp_path, 0, 1, 0, 0)
    watch.interval = 0.05  # for seconds
    with watch:
        time.sleep(0.3)
        watchdog.started()
        time.sleep(0.3)
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_is_compiled_later_has_the_time_of_a_start(tmp_path, monkeypatch):
    causes, deadline = [], time.monotonic() + 60
    monkeypatch.setattr(watchdog.watching, "end", lambda self, cause, anyway=True: causes.append(cause))
    with watchdog.watching(tmp_path, 0, 1, 60, 0.3):
        watchdog.started()
        watchdog.compiling()
        time.sleep(0.9)
        assert causes == []
        watchdog.beat("step 10")
        while not causes and time.monotonic() < deadline:
            time.sleep(0.1)
    assert causes[0] == "Nothing was finished for 0.3 s (config.train.step_limit)"


@pytest.mark.parametrize("count", [1, 2])
def test_the_threads_end_with_the_block(tmp_path, count):
    before = set(threading.enumerate())
    with watchdog.watching(tmp_path, 0, count, 60, 60):
        watched = set(threading.enumerate()) - before
        assert len(watched) == count
    for thread in watched:
        thread.join(60)
    assert list(tmp_path.iterdir()) == [] and not any(thread.is_alive() for thread in watched)


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (UserError("a sentence"), ["ended with 'a sentence'"]),
        (KeyError(), ["failed with 'KeyError'"]),
        (SharedError("known to all"), []),
        (preemption.PreemptedError(), []),
        (SystemExit(0), []),
    ],
)
def test_what_ended_the_block_stays_for_the_others_to_read(tmp_path, error, kept):
    with pytest.raises(type(error)), watchdog.watching(tmp_path, 1, 2, 60, 60):
        watchdog.beat("one")
        raise error
    assert [one.end for one in heartbeats.read(tmp_path / ".processes").values()] == kept


def test_the_heartbeats_of_an_earlier_run_are_removed(tmp_path):
    with pytest.raises(UserError), watchdog.watching(tmp_path, 1, 2, 60, 60):
        raise UserError("an earlier error")
    with watchdog.watching(tmp_path, 0, 2, 60, 60):
        assert heartbeats.read(tmp_path / ".processes").keys() <= {0}


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    with watchdog.watching(tmp_path / "file", 0, 2, 60, 60):
        watchdog.beat("something")
