"""The progress line: plain lines in a file, one rewritten line on a terminal, and the time left."""

import io
import os
import pty
import subprocess
import sys

import pytest
import tqdm.std

from ltpml_jax.runtime import progress
from ltpml_jax.runtime.progress import Progress
from tests.helpers.runs import ROOT


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves: clock[0] is the time."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(tqdm.std, "time", lambda: now[0])
    return now


def test_speed_and_time_left_count_from_the_first_step_shown(clock):
    stream = io.StringIO()
    shown = Progress(total=100, batch=32, stream=stream)
    shown.update(10, 0, 0.5)
    clock[0] += 20
    shown.update(50, 1, 0.25)  # 40 steps in 20 s: 64 images/s, 50 steps left take 25 s
    clock[0] += 100
    shown.update(60, 1, 0.125)  # 50 steps in 120 s, 40 left: 96 s
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("epoch 1  step 10/100  loss 0.5000")
    assert lines[1:] == [
        "epoch 2  step 50/100  loss 0.2500  64 images/s  ETA 0:25",
        "epoch 2  step 60/100  loss 0.1250  13 images/s  ETA 1:36",
    ]


def test_a_file_gets_a_plain_line_now_and_then(clock):
    stream = io.StringIO()
    shown = Progress(total=100, batch=32, stream=stream)
    for step in range(1, 101):
        shown.update(step, 0, 1.0)
        clock[0] += 0.5
    shown.close()
    text = stream.getvalue()
    assert "\r" not in text and "\x1b" not in text and text.endswith("\n")
    steps = [int(line.split("step ")[1].split("/")[0]) for line in text.splitlines()]
    assert steps == [1, 21, 41, 61, 81, 100]  # every 10 s, and the last one


def test_a_run_without_a_step_shows_nothing():
    stream = io.StringIO()
    Progress(total=3, batch=1, stream=stream).close()
    assert stream.getvalue() == ""


def test_hours_are_hours(clock):
    stream = io.StringIO()
    shown = Progress(total=4000, batch=1, stream=stream)
    shown.update(1, 0, 0.5)
    clock[0] += 10
    shown.update(11, 0, 0.5)  # 1 image/s
    assert stream.getvalue().endswith("step 11/4000  loss 0.5000  1 images/s  ETA 1:06:29\n")


def test_a_terminal_has_one_line_that_is_rewritten(clock):
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        shown = Progress(total=10, batch=4, stream=stream)
        for step in range(1, 11):
            clock[0] += 0.15
            shown.update(step, 0, 1.0 / step)
        shown.close()
        shown.close()
        written = ""
        while "\n" not in written:  # a terminal may hand over what was written in pieces
            written += os.read(master, 10_000).decode()
    os.close(master)
    assert written.count("\n") == 1 and written.endswith("\n")
    lines = [line for line in written.split("\r") if line.strip()]
    assert [line.split("/")[0] for line in lines] == [f"epoch 1  step {step}" for step in (2, 4, 6, 8, 10, 10)]
    assert lines[0].startswith("epoch 1  step 2/10  loss 0.5000  27 images/s  ETA 0:01 |████      ")
    assert lines[-1].startswith("epoch 1  step 10/10  loss 0.1000  27 images/s  ETA 0:00 |████████████████████|")


RUN = "from ltpml_jax.runtime.progress import Progress\np = Progress(1, 4)\np.update(1, 0, 0.5)\np.close()"


@pytest.mark.processes
@pytest.mark.parametrize("rows,columns,seen", [(0, 0, "loss 0.5000 |███"), (24, 16, "epoch 1  step")])
def test_a_terminal_that_is_narrow_or_does_not_know_its_size(rows, columns, seen):
    master, slave = pty.openpty()
    subprocess.run(["stty", "rows", str(rows), "cols", str(columns)], stdin=slave, check=True)
    subprocess.run([sys.executable, "-c", RUN], stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, check=True)
    os.close(slave)
    written = os.read(master, 10_000).decode()
    os.close(master)
    assert seen in written
    assert columns == 0 or max(map(len, written.replace("\r", "\n").split("\n"))) <= columns
