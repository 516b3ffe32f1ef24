"""Atomic writes, and locks that a killed process does not keep."""

import os
import signal
import subprocess
import sys
import time

import pytest
from etils import epath
from filelock import Timeout

from ltpml_jax.errors import UserError
from ltpml_jax.runtime import files
from tests.helpers.runs import ROOT

HOLD = """
import sys, time
from pathlib import Path
from ltpml_jax.runtime import files
with files.sole_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    "data,content", [("zwei Wörter\n", "zwei Wörter\n".encode()), (b"\x00\xff\r\n", b"\x00\xff\r\n")]
)
@pytest.mark.parametrize("kind", [type(epath.Path("/")), type(ROOT)])
def test_text_and_bytes_replace_what_was_there_and_leave_nothing_else(tmp_path, data, content, kind):
    path = kind(tmp_path / "file.json")
    for earlier in (None, b"something much longer than what follows it"):
        if earlier:
            path.write_bytes(earlier)
        files.write_atomic(path, data)
        assert path.read_bytes() == content and os.listdir(tmp_path) == ["file.json"]


def test_a_block_that_fails_changes_nothing(tmp_path):
    path = tmp_path / "shard"
    path.write_text("before")
    with pytest.raises(KeyError), files.replacing(path) as scratch:
        scratch.write_text("half of what sh")
        assert path.read_text() == "before"
        raise KeyError
    with files.replacing(path) as scratch:
        pass
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["shard"]


def test_a_folder_that_is_missing_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        files.write_atomic(tmp_path / "absent" / "file", "")


def test_a_block_that_cannot_write_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "below"
    with pytest.raises(UserError) as caught, files.writing(place):
        place.mkdir()
    assert str(caught.value) == f"{place} cannot be written (Not a directory); make room there, and try again."
    sentence = r"^The table cannot be written \(full\); give another --out\.$"
    with pytest.raises(UserError, match=sentence), files.writing("The table", "give another --out"):
        raise OSError("full")
    with pytest.raises(KeyError), files.writing(place):
        raise KeyError


CROWD = """
import sys
from pathlib import Path
from ltpml_jax.runtime import files
for _ in range(300):
    files.write_atomic(Path(sys.argv[1]), sys.argv[2] * 100_000)
"""


@pytest.mark.processes
def test_two_processes_that_write_one_file_at_once_leave_it_whole_at_every_moment(tmp_path):
    path = tmp_path / "file"
    writers = [subprocess.Popen([sys.executable, "-c", CROWD, path, letter], cwd=ROOT) for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            seen.add(path.read_text())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {"a" * 100_000, "b" * 100_000} and seen and os.listdir(tmp_path) == ["file"]


@pytest.mark.processes
def test_the_lock_of_a_killed_process_is_free_at_once_and_its_file_stays(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"Another run is at work in {tmp_path}; wait for its end"):
            files.sole_run(tmp_path).__enter__()
        holder.send_signal(signal.SIGSTOP)  # a process that does nothing keeps it
        with pytest.raises(Timeout), files.lock(tmp_path / files.LOCK, wait=False):
            pass
    finally:
        holder.kill()
        holder.wait()
    with files.sole_run(tmp_path):
        pass
    assert os.listdir(tmp_path) == [files.LOCK]


@pytest.mark.processes
def test_who_waits_gets_the_lock_when_its_holder_is_killed(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    wait = HOLD.replace("files.sole_run(Path(sys.argv[1]))", "files.lock(Path(sys.argv[1]) / files.LOCK, wait=True)")
    assert holder.stdout.readline() == "held\n"
    waiting = subprocess.Popen([sys.executable, "-c", wait, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(1)
        assert waiting.poll() is None
        holder.kill()
        assert waiting.stdout.readline() == "held\n"
    finally:
        for process in (holder, waiting):
            process.kill()
            process.communicate()


def test_what_cannot_be_locked_is_an_oserror_that_is_no_timeout(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as caught, files.lock(tmp_path / "file" / files.LOCK, wait=False):
        pass
    assert not isinstance(caught.value, Timeout)


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(OSError, match="it is no regular file"):
            files.check_regular(path)
    files.check_regular(tmp_path / "file")
