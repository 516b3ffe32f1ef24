"""A run of several processes: the same run as one process, whatever happens to one of them."""

import functools
import json
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from ltpml_jax.runtime import checksums, files
from tests.helpers import runs, session, trees
from tests.helpers.same_runs import assert_same

pytestmark = pytest.mark.processes

EVERY = 4  # steps between checkpoints


def tiny(workdir: Path, **changes) -> list[str]:
    """On a network that compiles quickly."""
    return runs.tiny_command(workdir, train__checkpoint_every=EVERY, **changes)


def ended_well(done: list[subprocess.CompletedProcess[str]]) -> list[subprocess.CompletedProcess[str]]:
    for number, one in enumerate(done):
        assert one.returncode == 0, f"process {number}: {one.stderr[-3000:]}"
    return done


@functools.cache
def two_by_two() -> Path:
    """By two processes with two devices each, on a network that compiles quickly; do not change it."""
    return session.once("2x2", lambda workdir: train(tiny(workdir), 2, 2))


def train(command: list[str], processes: int, devices: int) -> None:
    done = ended_well(runs.wait_all(runs.start_all(command, processes, devices)))
    assert "mAP Total" in done[0].stdout
    lines = [line for one in done[1:] for line in (one.stdout + one.stderr).splitlines()]
    assert lines == []  # the rest is reported once, and what libraries print goes to a file
    assert not any("Gloo" in line for line in (done[0].stdout + done[0].stderr).splitlines())


def assert_agree(workdir: Path, expected: Path) -> None:
    """Equal batches and selections, losses to 1e-5, and a table that prints the same."""
    mine, theirs = runs.lines(workdir), runs.lines(expected)
    assert len(mine) == len(theirs)
    for line, other in zip(mine, theirs, strict=True):
        assert line.keys() == other.keys()
        for name, value in line.items():
            if name.startswith(("loss", "epoch_loss")):
                assert value == pytest.approx(other[name], rel=1e-5, abs=1e-9), (line["step"], name)
            elif name.endswith(("_mAP", "_AP", "_precision", "_recall")):
                assert value == pytest.approx(other[name], abs=0.05)
            else:  # step, epoch, hash of the batch, reliable set, hard labels
                assert value == other[name], (line["step"], name)
    tables = [json.loads((folder / "results.json").read_text()) for folder in (workdir, expected)]
    for name, scores in tables[0]["test"].items():
        assert scores == pytest.approx(tables[1]["test"][name], abs=0.1)
    assert tables[0]["corrected_labels"] == pytest.approx(tables[1]["corrected_labels"], abs=0.1)


def test_processes_and_devices_change_nothing():
    """eight_devices() is one process; a test below has a real network."""
    assert_agree(two_by_two(), runs.eight_devices())


def until(workdir: Path, step: int, to: Path) -> Path:
    """A copy of a run that has come no further than a checkpoint."""
    shutil.copytree(workdir, to)
    for folder in (to / "checkpoints").iterdir():
        if int(folder.name) > step:
            shutil.rmtree(folder)
    (to / "results.json").unlink()
    return to


def test_a_checkpoint_of_eight_devices_resumes_on_two_processes(tmp_path):
    """On a real network, and where the second host has the dataset on its own disk."""
    workdir = until(runs.finished(), 16, tmp_path / "run")
    copy = shutil.copytree(runs.data_dir(), tmp_path / "data")
    here, there = (runs.command(workdir, train__checkpoint_every=1, **changes) for changes in ({}, {"data__dir": copy}))
    done = ended_well(runs.wait_all(runs.start_all([here, there], 2)))
    assert "Resuming from step 16" in done[0].stderr
    assert_agree(workdir, runs.finished())


def test_a_checkpoint_of_two_processes_resumes_on_one_device(tmp_path):
    workdir = until(two_by_two(), 16, tmp_path / "run")
    runs.tiny_run(workdir, train__checkpoint_every=EVERY, train__devices=1)
    assert_agree(workdir, runs.eight_devices())


def wait_for(workdir: Path, step: int, processes: list[subprocess.Popen[str]]) -> None:
    deadline = time.monotonic() + 300
    while not checksums.sealed(workdir / "checkpoints" / str(step)):
        assert all(process.poll() is None for process in processes) and time.monotonic() < deadline
        time.sleep(0.01)


def lose(workdir: Path, step: int, killed: int) -> None:
    """Two processes from where the run is; one is killed once a checkpoint is there, and the other one has to end."""
    processes = runs.start_all(tiny(workdir), 2, 2)
    wait_for(workdir, step, processes)
    processes[killed].kill()
    other = runs.wait_all(processes, seconds=100)[1 - killed]
    assert other.returncode == 75, other.stderr
    assert f"rocess {killed} (" in other.stderr.splitlines()[-1], other.stderr


def preempt(workdir: Path, step: int) -> None:
    """The same with SIGTERM to one of them, which saves the run of both."""
    processes = runs.start_all(tiny(workdir), 2, 2)
    wait_for(workdir, step, processes)
    processes[1].send_signal(signal.SIGTERM)
    done = runs.wait_all(processes, seconds=100)
    assert [one.returncode for one in done] == [143, 143], [one.stderr for one in done]
    assert done[0].stderr.splitlines()[-1] == "SIGTERM: the run is saved; the same command resumes it."
    stopped = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    assert runs.lines(workdir)[-1]["step"] == stopped


def damage(workdir: Path) -> int:
    """Flip a bit in what process 1 saved of the newest checkpoint; the step of the one before it."""
    *_, before, last = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())
    (part,) = (workdir / "checkpoints" / str(last) / "state").glob("ocdbt.process_1")
    largest = max(part.rglob("d/*"), key=lambda path: path.stat().st_size)
    raw = bytearray(largest.read_bytes())
    raw[len(raw) // 2] ^= 1
    largest.write_bytes(raw)
    return before


def test_whatever_happens_to_one_process_the_end_is_the_same_bit_for_bit(tmp_path):
    workdir = tmp_path / "run"
    lose(workdir, 4, killed=1)
    preempt(workdir, 8)
    lose(workdir, 12, killed=0)
    before = damage(workdir)
    done = ended_well(runs.wait_all(runs.start_all(tiny(workdir), 2, 2)))
    assert f"Resuming from step {before}" in done[0].stderr
    assert "(state/ocdbt.process_1/" in done[0].stderr
    assert_same(workdir, two_by_two())


@pytest.mark.parametrize(
    "changes,sentence",
    [
        ({"seed": 1}, "Process 1 has another config or other data than process 0; start all with the same command."),
        ({"data__dir": f"{__file__}/below"}, "process 1 (HOST): Cannot build digits_mlt in"),
    ],
)
def test_what_is_wrong_in_one_process_is_reported_once_and_ends_all(changes, sentence, tmp_path):
    arguments = [tiny(tmp_path), tiny(tmp_path, **changes)]
    done = runs.wait_all(runs.start_all(arguments, 2), seconds=100)
    assert [one.returncode for one in done] == [2, 2], [one.stderr for one in done]
    assert runs.sentence(done[0]).startswith(sentence.replace("HOST", socket.gethostname()))
    assert "error" not in done[1].stderr
    assert not (tmp_path / "checkpoints").exists()


def test_processes_with_other_work_directories_are_named_at_the_start(tmp_path):
    done = runs.wait_all(runs.start_all([tiny(tmp_path / "one"), tiny(tmp_path / "two")], 2), seconds=100)
    assert [one.returncode for one in done] == [2, 2], [one.stderr for one in done]
    sentence = f"process 1 ({socket.gethostname()}): The work directory {tmp_path / 'two'} does not show here what"
    assert runs.sentence(done[0]).startswith(sentence)
    assert not (tmp_path / "one" / "config.json").exists()


def test_a_second_run_of_two_processes_refuses(tmp_path):
    with files.sole_run(tmp_path):
        done = runs.wait_all(runs.start_all(tiny(tmp_path), 2), seconds=100)
    assert [one.returncode for one in done] == [2, 2], [one.stderr for one in done]
    assert "Another run is at work in" in runs.sentence(done[0]) and "error" not in done[1].stderr


def test_an_image_that_one_process_cannot_read_ends_all_with_its_name(tmp_path):
    """Whichever process meets it; the other one is in a step, and does not wait."""
    data = trees.prepared(tmp_path, "mine", 5)
    trees.punch(data, "train/30.jpg")
    changes = {"data__name": "mine", "data__dir": data, "data__batch_size": 8, "data__sampler": "shuffle"}
    done = runs.wait_all(runs.start_all(tiny(tmp_path / "run", data__validation=0.0, **changes), 2), seconds=100)
    assert [one.returncode for one in done] == [2, 2], [one.stderr for one in done]
    assert re.match(r"process [01] \(.*30\b.*config.data.unreadable=skip", runs.sentence(done[0]))
    assert "error" not in done[1].stderr
