"""What a process of a command begins with."""

import gc
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from ltpml_jax.runtime import preemption, startup
from tests.helpers import runs


@pytest.fixture
def restored():
    handler, thresholds, callbacks = signal.getsignal(signal.SIGINT), gc.get_threshold(), gc.callbacks[:]
    yield
    signal.signal(signal.SIGINT, handler)
    gc.set_threshold(*thresholds)
    gc.callbacks[:] = callbacks
    gc.unfreeze()


@pytest.mark.processes
def test_what_cannot_be_printed_ends_a_command_without_a_traceback():
    command = [sys.executable, "-m", "ltpml_jax", "--help"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    sentence = "error: Standard output cannot be written (No space left on device); give it another place.\n"
    assert (done.returncode, done.stderr) == (2, sentence)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.processes
def test_characters_that_the_terminal_lacks_are_printed_as_escapes():
    code = "from ltpml_jax.runtime import startup\nwith startup.command(): print('k\\xe4tzchen')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"k\\xe4tzchen\n")


def test_of_protobufs_warnings_a_user_sees_none_and_others_all(restored, monkeypatch):
    shown = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", lambda message, *rest: shown.append(str(message)))
        with startup.command():
            for text in ("Protobuf gencode version 5.28.3 is exactly one major version older", "another"):
                warnings.warn(text, UserWarning, stacklevel=1)
    assert shown == ["another"]


def test_an_error_of_another_file_stays_one(restored):
    with pytest.raises(FileNotFoundError), startup.command():
        Path("/nowhere").read_bytes()


def test_garbage_is_looked_for_once_after_many_objects_and_then_as_always(restored, monkeypatch):
    monkeypatch.setattr(startup, "STAYING", 60_000)
    gc.freeze()  # what other tests left is not looked at
    frozen = gc.get_freeze_count()
    monkeypatch.setattr(startup, "USUAL", usual := (700, 10, 10))
    gc.set_threshold(*usual)
    looks = []
    gc.callbacks.append(lambda phase, info: looks.append(phase) if phase == "start" else None)
    startup.begin()
    assert signal.getsignal(signal.SIGINT) is preemption.end_at_once
    kept = [[] for _ in range(startup.STAYING - 50_000)]
    assert not looks
    kept += [[] for _ in range(60_000)]
    assert looks and gc.get_threshold() == usual and gc.get_freeze_count() > frozen + startup.STAYING
    seen = len(looks)
    kept += [[] for _ in range(10_000)]
    assert len(looks) > seen


@pytest.mark.processes
def test_training_looks_for_garbage_after_its_first_steps(restored, tmp_path, monkeypatch):
    gc.collect()
    monkeypatch.setattr(startup, "USUAL", usual := (701, 11, 11))
    startup.collect_garbage()  # where nothing put it off, nothing is done
    assert not gc.get_freeze_count()
    startup.begin()
    assert gc.get_threshold()[0] == startup.STAYING
    runs.tiny_run(tmp_path, method__name="bce", train__epochs=1)
    assert gc.get_threshold() == usual and gc.get_freeze_count()
