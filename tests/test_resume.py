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

import pytest

from ltpml_jax import cli
from ltpml_jax.commands import evaluate
from ltpml_jax.data import loader
from ltpml_jax.errors import UserError
from ltpml_jax.runtime import files, preemption
from tests.helpers import runs, session, tiny
from tests.helpers.same_runs import assert_same

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


def test_the_log_tells_what_the_run_is_and_nothing_else():
    text = "\n".join(log())
    what = "ndlp on digits_mlt: 1080 training images (120 held out), 20 classes, 2 epochs of 9 steps"
    parts = (what, "sha256 ", "1 device(s): cpu; ", " parameters train", "Candidate sets: partial rate 0.3")
    parts += ("Class counts (estimated): ", "go to ", "Compiling the step", "as it is from epoch 2 on", "results.json")
    assert [part for part in parts if part not in text] == []
    assert len([line for line in log() if re.match(r"\d\d:\d\d:\d\d ", line)]) <= 12
    ours = re.compile(r"\d\d:\d\d:\d\d \w|epoch \d  step \d+/18  loss \d")
    assert [line for line in log() if not ours.match(line)] == []
    progress = [line for line in log() if line.startswith("epoch")]
    assert re.match(r"epoch 2  step 18/18  loss 0\.\d{4}  \d+ images/s  ETA 0:00$", progress[-1])


def test_a_run_that_is_killed_comes_to_the_same(tmp_path):
    """On a real network."""
    real = functools.partial(runs.command, train__checkpoint_every=2, train__epochs=1)
    whole, workdir = tmp_path / "whole", tmp_path / "killed"
    assert runs.call(real(whole)).returncode == 0
    kill_when(runs.start(real(workdir)), workdir, saving(4))
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "epoch": 0, "batch": "a1b2')  # torn by the kill
    kill_when(runs.start(real(workdir)), workdir, saved(6))
    for file in (workdir / "checkpoints" / "6").glob("checksums.json"):
        file.unlink()  # as if killed a moment earlier, before it was saved to its end
    left_over = workdir / "checkpoints" / "8.orbax-checkpoint-tmp"
    if not left_over.exists():
        shutil.copytree(workdir / "checkpoints" / "6", left_over)
    (left_over / "_CHECKPOINT_METADATA").unlink(missing_ok=True)
    done = runs.call(real(workdir))
    assert done.returncode == 0, done.stderr
    assert "The checkpoint of step 6 was not saved to its end" in done.stderr
    assert "Resuming from step 4" in done.stderr
    assert_same(workdir, whole)


@pytest.fixture
def unfinished(tmp_path, caplog) -> Path:
    """A copy of in_process() as if killed in its final evaluation, to be resumed in this process with its log kept."""
    caplog.set_level("INFO", "ltpml_jax")
    workdir = Path(shutil.copytree(in_process(), tmp_path / "copy"))
    (workdir / "results.json").unlink()
    return workdir


def test_a_run_whose_first_checkpoint_was_not_saved_to_its_end_begins_anew(unfinished, caplog):
    first, *others = sorted((unfinished / "checkpoints").iterdir(), key=lambda path: int(path.name))
    (first / "checksums.json").unlink()
    for folder in others:
        shutil.rmtree(folder)
    runs.tiny_run(unfinished, **CHANGES)
    assert f"The checkpoint of step {first.name} was not saved to its end" in caplog.text
    assert "Resuming" not in caplog.text
    assert_same(unfinished, in_process())


def test_a_damaged_newest_checkpoint_is_set_aside_and_the_one_before_it_used(unfinished, caplog):
    *_, before, last = sorted(int(path.name) for path in (unfinished / "checkpoints").iterdir())
    for path in (unfinished / "checkpoints" / str(last) / "state").rglob("d/*"):
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 0xFF
        path.write_bytes(raw)
    runs.tiny_run(unfinished, **CHANGES)
    assert f"checkpoints/{last} cannot be read" in caplog.text and f"Resuming from step {before}" in caplog.text
    assert (unfinished / "damaged" / f"{last}.0" / "state").is_dir()
    assert_same(unfinished, in_process())


def test_where_every_checkpoint_is_damaged_the_remedy_is_the_start(unfinished):
    for folder in (unfinished / "checkpoints").iterdir():
        (folder / "state" / "_METADATA").unlink()
    with pytest.raises(UserError, match=f"; remove {unfinished}/checkpoints to train from the start.$"):
        runs.tiny_run(unfinished, **CHANGES)
    shutil.rmtree(unfinished / "checkpoints")
    runs.tiny_run(unfinished, **CHANGES)
    assert_same(unfinished, in_process())


def stop(workdir: Path, number: signal.Signals, name: str, before: int = 0) -> int:
    """Start the run, or resume it from the step `before`; end it by a signal after it has saved another step."""
    process = runs.start(command(workdir))
    deadline = time.monotonic() + 300
    while newest(workdir) < max(before + 1, 2 * EVERY):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.0005)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number, stderr
    assert stderr.splitlines()[-1] == f"{name}: the run is saved; the same command resumes it."
    assert (f"Resuming from step {before}" in stderr) == bool(before)
    assert runs.lines(workdir)[-1]["step"] == newest(workdir) > before
    return newest(workdir)


def newest(workdir: Path) -> int:
    """The step of the newest checkpoint that has its name, or 0."""
    return max((int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()), default=0)


def test_a_signal_saves_the_step_it_comes_in_and_worker_processes_change_nothing(uninterrupted, tmp_path):
    """SIGTERM, Ctrl-C, and the rest with two workers."""
    stopped = stop(tmp_path, signal.SIGTERM, "SIGTERM")
    stopped = stop(tmp_path, signal.SIGINT, "Ctrl-C", stopped)
    done = runs.call([*command(tmp_path), "--config.data.workers=2"])
    assert done.returncode == 0 and f"Resuming from step {stopped}" in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) <= len(log()) + 5, done.stderr  # some more lines of progress
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
    """test_processes.py has it between processes."""
    sentence = f"^Another run is at work in {tmp_path}; wait for its end, or give another --workdir.$"
    with files.sole_run(tmp_path), pytest.raises(UserError, match=sentence):
        runs.tiny_run(tmp_path)
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


def test_lost_records_are_noticed_when_a_run_is_resumed_and_when_it_is_evaluated(unfinished, capsys, caplog):
    shutil.rmtree(unfinished / "checkpoints" / "18")
    path = unfinished / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3] + lines[5:]))
    sentence = r"lost the records of 2 of %d steps \(from 4 to 5\);"
    with tiny.everywhere(), pytest.raises(UserError, match=sentence % 16):
        evaluate.COMMAND.run(cli.parse("evaluate", evaluate.COMMAND, [f"--workdir={unfinished}"]))
    assert "mAP Total" in capsys.readouterr().out
    with pytest.raises(UserError, match=sentence % 18):
        runs.tiny_run(unfinished, **CHANGES)
    warning, *_ = (line for line in caplog.text.splitlines() if "WARNING: " in line)
    assert re.search(sentence % 16, warning) and "mAP Total" in capsys.readouterr().out
