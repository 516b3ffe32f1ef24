"""What reaches the screen, and what goes to the log of libraries: in processes, as C++ code writes past Python."""

import subprocess
import sys
from pathlib import Path

import pytest

from ltpml_jax.runtime import screen
from tests.helpers.runs import ROOT

AROUND = """
import ctypes, logging, os, sys
from pathlib import Path
from ltpml_jax import cli
from ltpml_jax.runtime import screen
cli._log_to_stderr()
with screen.libraries_to(Path(sys.argv[1]) / "below" / "libraries.log"):
    {inside}
os.write(2, b"after")
print("table after")
"""
TALK = """os.write(1, b"noise 1"); os.write(2, b"noise 2"); logging.getLogger("absl").error("noise 3")
    print("table"); print("sentence", file=sys.stderr); logging.getLogger("ltpml_jax").warning("our log")
    os.write(screen.descriptor(), b"past Python")"""


def ended(folder: Path, inside: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", AROUND.format(inside=inside), str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.processes
def test_noise_goes_to_the_file_and_sentences_to_the_screen(tmp_path):
    done = ended(tmp_path, TALK)
    assert (done.returncode, done.stdout) == (0, "table\ntable after\n"), done.stderr
    assert "noise" not in done.stderr
    for part in ("sentence\n", " our log\n", "past Python", "after"):
        assert part in done.stderr
    assert [f"noise {number}" in (tmp_path / "below" / "libraries.log").read_text() for number in (1, 2, 3)] == [
        True
    ] * 3


@pytest.mark.processes
def test_an_unexpected_error_and_a_crash_are_seen(tmp_path):
    done = ended(tmp_path, "raise KeyError('a defect')")
    assert done.returncode == 1 and "KeyError: 'a defect'" in done.stderr
    assert not (tmp_path / "below").exists()  # nothing was written to it, and it was made for that
    (tmp_path / "below").mkdir()
    ended(tmp_path, "raise KeyError('a defect')")
    assert list((tmp_path / "below").iterdir()) == []
    assert "Segmentation fault" in ended(tmp_path, "ctypes.string_at(0)").stderr
    assert "Fatal Python error: Aborted" in ended(tmp_path, "os.abort()").stderr


THREADS = """import threading
    from ltpml_jax.runtime import files
    for target, given in ((int, "library's"), (files.check_regular, "ours")):
        thread = threading.Thread(target=target, args=(given,)); thread.start(); thread.join()
    late = threading.Timer(0.5, int, args=("late one's",)); late.start()
    raise KeyError("a defect")"""


@pytest.mark.processes
def test_tracebacks_of_threads_that_libraries_started_go_to_the_file_to_the_end(tmp_path):
    done = ended(tmp_path, THREADS)
    assert "KeyError: 'a defect'" in done.stderr and "No such file or directory: 'ours'" in done.stderr
    assert "ValueError" not in done.stderr
    log = (tmp_path / "below" / "libraries.log").read_text()
    assert "library's" in log and "late one's" in log and "'ours'" not in log


def test_streams_that_are_captured_stay_as_they_are(tmp_path, capsys):
    with screen.libraries_to(tmp_path / "libraries.log"):
        print("table")
        assert screen.descriptor() == 2
    assert capsys.readouterr().out == "table\n" and list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_a_folder_that_cannot_be_written_does_not_matter(tmp_path):
    (tmp_path / "below").touch()
    done = ended(tmp_path, "os.write(2, b'seen')")
    assert done.returncode == 0 and "seen" in done.stderr
