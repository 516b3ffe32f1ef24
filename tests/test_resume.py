"""A run that is killed, however often and wherever, comes to what the uninterrupted run comes to, bit for bit."""

import functools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import SingleDeviceSharding

from ltpml_jax.data import loader
from ltpml_jax.errors import UserError
from ltpml_jax.runtime import files, preemption
from tests.helpers import runs, session

pytestmark = pytest.mark.processes

EVERY = 3  # steps between checkpoints


def command(workdir: Path) -> list[str]:
    """On a network that compiles quickly; the test of kills has a real one."""
    return runs.tiny_command(workdir, train__checkpoint_every=EVERY)


@functools.cache
def log() -> list[str]:
    """Everything that the uninterrupted run wrote to stderr."""
    return (run() / "stderr").read_text().splitlines()


@functools.cache
def run() -> Path:
    return session.once("uninterrupted", train)


def train(folder: Path) -> None:
    done = runs.call(command(folder / "run"))
    assert done.returncode == 0, done.stderr
    (folder / "stderr").write_text(done.stderr)


CHANGES = {"train__checkpoint_every": 4, "train__devices": 1}


@functools.cache
def in_process() -> Path:
    """The work directory of a run in a process with eight devices, of which it uses one; do not change it."""
    return session.once("in_process", lambda workdir: runs.tiny_run(workdir, **CHANGES))


@pytest.fixture
def uninterrupted() -> Path:
    return run() / "run"


def kill_when(process: subprocess.Popen[str], workdir: Path, moment: Callable[[Path], bool]) -> None:
    """Kill a run at a moment that the files in its folder show; it must come."""
    try:
        deadline = time.monotonic() + 300
        while not moment(workdir):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.0005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def saving(step: int) -> Callable[[Path], bool]:
    """While the checkpoint of `step` is being written."""
    return lambda workdir: any((workdir / "checkpoints").glob(f"{step}.orbax-checkpoint-tmp*"))


def saved(step: int) -> Callable[[Path], bool]:
    """After it was, before or while the next step is taken."""
    return lambda workdir: (workdir / "checkpoints" / str(step)).exists()


def assert_same(workdir: Path, expected: Path) -> None:
    for name in ("metrics.jsonl", "results.json", "config.json", "model.json", "predictions-test.npz"):
        assert (workdir / name).read_bytes() == (expected / name).read_bytes(), name
    steps = sorted(path.name for path in (expected / "checkpoints").iterdir())
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == steps
    for step in steps:
        mine, theirs = (leaves(folder / "checkpoints" / step) for folder in (workdir, expected))
        assert mine.keys() == theirs.keys() and len(mine) > 9
        for name in mine:
            assert mine[name].dtype == theirs[name].dtype
            np.testing.assert_array_equal(mine[name], theirs[name], err_msg=f"{step} {name}")


def leaves(folder: Path) -> dict[str, np.ndarray]:
    """All arrays, also those that another number of devices saved."""
    here = SingleDeviceSharding(jax.devices()[0])
    with ocp.StandardCheckpointer() as reader:
        saved = reader.metadata(folder / "state").item_metadata.tree
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), saved)
        tree = reader.restore(folder / "state", shapes)
    found = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in found}


def test_the_log_tells_what_the_run_is_and_nothing_else():
    text = "\n".join(log())
    what = "ndlp on digits_mlt: 1080 training images (120 held out), 20 classes, 2 epochs of 9 steps"
    parts = (what, "sha256 ", "1 device(s): cpu; ", " parameters train", "Candidate sets: partial rate 0.3")
    for part in (
        *parts,
        "Class counts (estimated): ",
        "go to ",
        "Compiling the step",
        "as it is from epoch 2 on",
        "results.json",
    ):
        assert part in text
    assert len([line for line in log() if re.match(r"\d\d:\d\d:\d\d ", line)]) <= 12
    ours = re.compile(r"\d\d:\d\d:\d\d \w|epoch \d  step \d+/18  loss \d")
    assert [line for line in log() if not ours.match(line)] == []
    progress = [line for line in log() if line.startswith("epoch")]
    assert re.match(r"epoch 2  step 18/18  loss 0\.\d{4}  \d+ images/s  ETA 0:00$", progress[-1])


def test_worker_processes_change_nothing(uninterrupted, tmp_path):
    done = runs.call([*command(tmp_path), "--config.data.workers=2"])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "metrics.jsonl").read_bytes() == (uninterrupted / "metrics.jsonl").read_bytes()
    assert (tmp_path / "results.json").read_bytes() == (uninterrupted / "results.json").read_bytes()
    assert len(done.stderr.splitlines()) <= len(log()) + 5, done.stderr  # some more lines of progress


def test_a_run_that_is_killed_comes_to_the_same(tmp_path):
    """On a real network."""
    real = functools.partial(runs.command, train__checkpoint_every=EVERY)
    whole, workdir = tmp_path / "whole", tmp_path / "killed"
    assert runs.call(real(whole)).returncode == 0
    kill_when(runs.start(real(workdir)), workdir, saving(2 * EVERY))
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "epoch": 0, "batch": "a1b2')  # torn by the kill
    kill_when(runs.start(real(workdir)), workdir, saved(4 * EVERY))
    for file in (workdir / "checkpoints" / str(4 * EVERY)).glob("checksums.json"):
        file.unlink()  # as if killed a moment earlier, before it was saved to its end
    left_over = workdir / "checkpoints" / f"{5 * EVERY}.orbax-checkpoint-tmp"
    if not left_over.exists():
        shutil.copytree(workdir / "checkpoints" / str(4 * EVERY), left_over)
    (left_over / "_CHECKPOINT_METADATA").unlink(missing_ok=True)
    done = runs.call(real(workdir))
    assert done.returncode == 0, done.stderr
    assert f"The checkpoint of step {4 * EVERY} was not saved to its end" in done.stderr
    assert f"Resuming from step {3 * EVERY}" in done.stderr
    assert_same(workdir, whole)


def test_a_run_whose_first_checkpoint_was_not_saved_to_its_end_begins_anew(uninterrupted, tmp_path):
    kill_when(runs.start(command(tmp_path)), tmp_path, saved(EVERY))
    for file in (tmp_path / "checkpoints").glob("*/checksums.json"):
        file.unlink()
    done = runs.call(command(tmp_path))
    assert done.returncode == 0 and "was not saved to its end" in done.stderr, done.stderr
    assert "Resuming" not in done.stderr
    assert_same(tmp_path, uninterrupted)


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_newest_checkpoint_is_set_aside_and_the_one_before_it_used(uninterrupted, tmp_path, damage):
    workdir = Path(shutil.copytree(uninterrupted, tmp_path / "copy"))
    (workdir / "results.json").unlink()
    *_, before, last = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())
    for path in (workdir / "checkpoints" / str(last) / "state").rglob("d/*"):
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 0xFF
        path.write_bytes(raw[: len(raw) // 2] if damage == "truncate" else raw)
    done = runs.call(command(workdir))
    assert done.returncode == 0, done.stderr
    assert f"checkpoints/{last} cannot be read" in done.stderr and f"Resuming from step {before}" in done.stderr
    assert (workdir / "damaged" / f"{last}.0" / "state").is_dir()
    assert_same(workdir, uninterrupted)


@pytest.mark.parametrize("number,name", [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_signal_saves_the_step_it_comes_in(uninterrupted, tmp_path, number, name):
    process = runs.start(command(tmp_path))
    deadline = time.monotonic() + 300
    while not saved(2 * EVERY)(tmp_path):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.0005)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number, stderr
    assert stderr.splitlines()[-1] == f"{name}: the run is saved; the same command resumes it."
    stopped = max(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert stopped >= 2 * EVERY and runs.lines(tmp_path)[-1]["step"] == stopped
    done = runs.call(command(tmp_path))
    assert done.returncode == 0 and f"Resuming from step {stopped}" in done.stderr, done.stderr
    assert_same(tmp_path, uninterrupted)


@pytest.mark.parametrize("batches,number", [("validation_batches", 1), ("validation_batches", 2), ("test_batches", 1)])
def test_sigterm_in_an_evaluation_saves_what_it_evaluates(tmp_path, monkeypatch, batches, number):
    """A real signal, sent by this process to itself before a batch of the evaluation; validation has one batch."""
    plain, seen = getattr(loader, batches), []

    def interrupting(parts):
        for part in parts:
            seen.append(part)
            if len(seen) == number:
                os.kill(os.getpid(), signal.SIGTERM)
            yield part

    def interrupted(*arguments):
        feed = plain(*arguments)
        feed.parts = interrupting(feed.parts)
        return feed

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(loader, batches, interrupted)
    with pytest.raises(preemption.PreemptedError):
        runs.tiny_run(tmp_path, **CHANGES)
    assert signal.getsignal(signal.SIGTERM) is before
    stopped = {"validation_batches": 9 * number, "test_batches": 18}[batches]
    assert max(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == stopped
    runs.tiny_run(tmp_path, **CHANGES)
    assert_same(tmp_path, in_process())


@pytest.mark.parametrize("library", ["jaxlib", "grain"])
def test_ctrl_c_before_the_first_step_is_one_line(tmp_path, library):
    """While the libraries are imported; nothing is there to be saved."""
    process = runs.start(runs.command(tmp_path))
    while library not in Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.splitlines()[-1] == "Interrupted." and "Traceback" not in err, err


def test_a_second_run_in_the_same_directory_refuses(tmp_path):
    with files.sole_run(tmp_path):
        done = runs.call(command(tmp_path))
    assert runs.sentence(done) == f"Another run is at work in {tmp_path}; wait for its end, or give another --workdir."
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock"]


def test_a_finished_run_only_prints_its_table_again(uninterrupted, tmp_path, capsys):
    workdir = Path(shutil.copytree(uninterrupted, tmp_path / "copy"))
    (workdir / "results.json").unlink()  # as if killed in the final evaluation
    runs.tiny_run(workdir, train__checkpoint_every=EVERY, train__devices=1)
    assert capsys.readouterr().out.startswith("ndlp (estimated) on digits_mlt, partial rate 0.3: 1000 test images")
    assert_same(workdir, uninterrupted)


def test_lost_records_of_a_finished_run_are_named_after_all_is_done(tmp_path, capsys):
    workdir = Path(shutil.copytree(in_process(), tmp_path / "copy"))
    path = workdir / "metrics.jsonl"
    whole, table = path.read_text(), (workdir / "results.json").read_bytes()
    path.write_text("".join(whole.splitlines(keepends=True)[:8]))
    (workdir / "results.json").unlink()
    with pytest.raises(UserError, match=r"lost the records of 10 of 18 steps \(from 9 to 18\) and the summaries of 1"):
        runs.tiny_run(workdir, **CHANGES)
    assert (workdir / "results.json").read_bytes() == table and "mAP Total" in capsys.readouterr().out
    path.write_text(whole)
    runs.tiny_run(workdir, **CHANGES)
    assert path.read_text() == whole
    path.unlink()
    runs.tiny_run(workdir, **CHANGES)
    assert [line["records_begin_at"] for line in runs.lines(workdir)[:1]] == [19]


def test_lost_records_are_noticed_when_a_run_is_resumed_and_when_it_is_evaluated(tmp_path):
    workdir = runs.copy_of_finished(tmp_path)
    shutil.rmtree(workdir / "checkpoints" / "18")
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3] + lines[5:]))
    evaluated = runs.call([*runs.python("evaluate"), f"--workdir={workdir}"])
    assert "mAP Total" in evaluated.stdout
    assert "lost the records of 2 of 16 steps (from 4 to 5);" in runs.sentence(evaluated)
    (resumed,) = runs.wait_all(runs.start_all(runs.command(workdir, train__checkpoint_every=4), 1, 8))
    warning, *_ = (line for line in resumed.stderr.splitlines() if "WARNING" in line)
    assert "lost the records of 2 of 16 steps (from 4 to 5);" in warning
    assert resumed.returncode == 2 and "mAP Total" in resumed.stdout
    assert "lost the records of 2 of 18 steps (from 4 to 5);" in resumed.stderr.splitlines()[-1]
