"""Ctrl-C ends a process at once, or the second time."""

import sys

import pytest

from tests.helpers import runs

INTERRUPTED = """
import os, signal
from ltpml_jax import cli
def run(values):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        print("a handler of a library ran")
cli.start("wait", cli.Command("Wait.", lambda values: None, (), run), [])
"""
STUBBORN = """
import os, signal, time
from ltpml_jax import cli
from ltpml_jax.runtime import preemption
def run(values):
    signal.signal(signal.SIGINT, preemption.interrupt)
    for _ in range(2):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        except KeyboardInterrupt:  # as a callback of a library would lose it
            print("lost", flush=True)
cli.start("wait", cli.Command("Wait.", lambda values: None, (), run), [])
"""


@pytest.mark.processes
@pytest.mark.parametrize("program,printed", [(INTERRUPTED, ""), (STUBBORN, "lost\n")])
def test_ctrl_c_ends_at_once_or_the_second_time(program, printed):
    done = runs.call([sys.executable, "-c", program])
    assert (done.returncode, done.stdout, done.stderr) == (130, printed, "Interrupted.\n")
