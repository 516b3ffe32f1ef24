"""The progress line: plain lines in a file, one rewritten line on a terminal, and the time left."""

import io
import os
import pty

import pytest

from ltpml_jax.runtime import progress
from ltpml_jax.runtime.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves: clock[0] is the time."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
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


def test_a_terminal_has_one_line_that_is_rewritten(clock):
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        shown = Progress(total=10, batch=4, stream=stream)
        for step in range(1, 11):
            shown.update(step, 0, 1.0 / step)
            clock[0] += 0.15
        shown.close()
        shown.close()
        written = ""
        while "\n" not in written:  # a terminal may hand over what was written in pieces
            written += os.read(master, 10_000).decode()
    os.close(master)
    assert written.count("\n") == 1 and written.endswith("\n")
    parts = written.split("\r\x1b[K")
    assert parts[0] == "" and "step 10/10  loss 0.1000" in parts[-1]
    assert [part.split("/")[0] for part in parts[1:-1]] == [f"epoch 1  step {step}" for step in (1, 3, 5, 7, 9)]
