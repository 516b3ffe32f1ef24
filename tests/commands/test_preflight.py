"""The checks before a run: in run process, and between two real ones."""

import json
import re
import shutil
import socket
import subprocess
import sys
from collections import namedtuple

import jax
import pytest

from ltpml_jax.commands import preflight_checks, preflight_report
from ltpml_jax.data import datasets
from ltpml_jax.experiment import build_experiment, fresh_state
from ltpml_jax.runtime import processes, watchdog
from ltpml_jax.state import make_mesh
from ltpml_jax.workdir import claim
from tests.helpers import runs
from tests.runtime.test_watchdog import free_port

TITLES = ["processes", "versions", "config", "devices", "collective", "workdir", "data", "run", "room"]
HOST = socket.gethostname()


def checked(capsys, config, workdir) -> tuple[bool, dict[str, str]]:
    """(whether all is good, the lines by title without it), after checking that every check has its line."""
    good = preflight_report.run(config, workdir, 8)
    lines = capsys.readouterr().out.splitlines()
    found = {line.split()[1]: f"{line.split()[0]} {line.split(maxsplit=2)[2]}" for line in lines}
    assert list(found) == TITLES and len(lines) == len(TITLES)
    assert good == all(line.startswith("ok ") for line in found.values())
    return good, found


def bad(found: dict[str, str]) -> list[str]:
    return [title for title, line in found.items() if line.startswith("BAD ")]


def test_a_good_machine_has_a_good_line_for_every_check_and_keeps_nothing(capsys, tmp_path):
    good, found = checked(capsys, runs.config(), tmp_path / "new" / "run")
    assert good and list((tmp_path / "new" / "run").iterdir()) == []
    assert f"1 process on 1 host ({HOST})" in found["processes"]
    assert f"jax {jax.__version__}," in found["versions"]
    assert "8 x cpu (cpu); a batch of 256 is 32 images on each" in found["devices"]
    assert re.search(r"a sum over 8 devices is right, and took \d+\.\d ms", found["collective"])
    assert "digits_mlt: 1200 training, 1000 test images of 20 classes; the first image can be read" in found["data"]
    assert found["run"].startswith("ok ndlp: 1080 training images (120 held out), 9 steps an epoch")


def test_a_folder_that_cannot_be_written_is_named_and_the_other_checks_are_made(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    _, found = checked(capsys, runs.config(), tmp_path / "file" / "run")
    assert bad(found) == ["workdir"]
    assert f"process 0 ({HOST}): The work directory {tmp_path}/file/run cannot be written" in found["workdir"]


def test_a_work_directory_without_room_for_a_file_is_named(capsys, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preflight_report.Path, "write_text", full)
    _, found = checked(capsys, runs.config(), tmp_path)
    assert bad(found) == ["workdir"]
    assert f"The work directory {tmp_path} cannot be written (No space left on device); make room" in found["workdir"]


def test_the_folder_of_another_config_is_bad(capsys, tmp_path):
    claim(runs.config(), tmp_path)
    _, found = checked(capsys, runs.config(seed=1), tmp_path)
    assert bad(found) == ["workdir"] and "belongs to another config (seed was 0, now 1)" in found["workdir"]


def test_a_dataset_that_is_missing_is_named(capsys, tmp_path):
    _, found = checked(capsys, runs.config(data__name="voc_mlt"), tmp_path)
    assert bad(found) == ["data"] and "The dataset 'voc_mlt' is not prepared" in found["data"]


def test_records_that_are_cut_off_are_named(capsys, tmp_path):
    shutil.copytree(runs.data_dir(), tmp_path / "data")
    file = next(path for path in (tmp_path / "data").rglob("*-train.array_record-*"))
    file.write_bytes(file.read_bytes()[:-1000])
    _, found = checked(capsys, runs.config(data__dir=str(tmp_path / "data")), tmp_path / "run")
    assert bad(found) == ["data"] and str(tmp_path / "data") in found["data"]


def test_a_first_image_that_does_not_decode_is_named(capsys, tmp_path, monkeypatch):
    opened = datasets.load("digits_mlt", str(runs.data_dir()))
    whole = opened.train.records[0]["image"]
    monkeypatch.setattr(preflight_checks.datasets, "load", lambda *_: opened)
    monkeypatch.setattr(type(opened.train.records), "__getitem__", lambda *_: {"image": whole[:50]})
    _, found = checked(capsys, runs.config(), tmp_path)
    assert bad(found) == ["data"]
    assert f"the first training image in {runs.data_dir()}/digits_mlt" in found["data"]
    assert "50 bytes that are not a readable image" in found["data"]


def test_a_batch_that_does_not_divide_is_bad(capsys, tmp_path):
    _, found = checked(capsys, runs.config(data__batch_size=30), tmp_path)
    assert bad(found) == ["devices"] and "30 and does not divide among 8 devices" in found["devices"]


def test_an_nvidia_gpu_that_jax_does_not_use_is_a_warning_that_names_the_extra(capsys, tmp_path, monkeypatch):
    """Either sign of one, but for a JAX that was asked to use the CPU."""
    device, program = tmp_path / "nvidia0", tmp_path / "nvidia-smi"
    monkeypatch.setattr(preflight_checks, "GPU", device)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAX_PLATFORMS")
    assert preflight_checks._unused_gpu() == ""
    program.touch(0o755)
    assert f"there is an NVIDIA GPU ({program}): install the extra cuda (" in preflight_checks._unused_gpu()
    device.touch()
    good, found = checked(capsys, runs.config(), tmp_path / "run")
    assert (
        good
        and f"32 images on each; WARNING: JAX runs on the CPU, but there is an NVIDIA GPU ({device})"
        in (found["devices"])
    )
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert preflight_checks._unused_gpu() == ""


def test_a_check_that_breaks_is_bad_whatever_it_raises(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(preflight_checks.datasets, "load", lambda *_: 1 / 0)
    _, found = checked(capsys, runs.config(), tmp_path)
    assert bad(found) == ["data"] and "ZeroDivisionError: division by zero" in found["data"]


def test_a_full_disk_is_bad(capsys, tmp_path, monkeypatch):
    usage = namedtuple("Usage", "free")
    monkeypatch.setattr(preflight_checks.shutil, "disk_usage", lambda _: usage(5 * 10**6))
    _, found = checked(capsys, runs.config(), tmp_path)
    assert bad(found) == ["room"] and f"{tmp_path} has only 0.0 GB free for up to 4 checkpoints" in found["room"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model__pretrained": "nofile.pth"}, "nofile.pth"),
        ({"model__start_from": "nowhere"}, "There is no run in nowhere"),
        ({"data__candidates": "nofile.safetensors"}, "nofile.safetensors"),
        ({"data__batch_size": 1000000}, "make it smaller"),
        ({"optim__multipliers": "x=1"}, "optim.multipliers"),
        ({"optim__multipliers": "x"}, "optim.multipliers has 'x'; write"),
        ({"method__name": "custom"}, "the method is not in this package"),
        ({"data__fold": "1/1201", "data__validation": 0.0}, "data.fold"),
    ],
)
def test_what_training_would_refuse_is_bad(changes, sentence, capsys, tmp_path):
    _, found = checked(capsys, runs.config(**changes), tmp_path)
    assert bad(found) == ["run"] and sentence in found["run"]
    assert "how large a checkpoint is depends on the run" in found["room"]


@pytest.mark.usefixtures("numpy_weights")
def test_the_size_of_a_checkpoint_is_that_of_the_state(tmp_path):
    made = preflight_checks.Checks(runs.config(), tmp_path)
    made.good = {"devices", "data"}
    made.run()
    state = fresh_state(build_experiment(runs.config(), tmp_path, make_mesh(jax.devices()[:1]), "random"))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert f"free for up to 4 checkpoints of {size / 1e6:.1f} MB" in made.room()[0]


def test_unequal_numbers_of_devices_are_reported_without_an_exchange(capsys, tmp_path, monkeypatch):
    Device = namedtuple("Device", "process_index")
    monkeypatch.setattr(jax, "devices", lambda: [Device(0), Device(0), Device(1), Device(2), Device(2)])
    assert not preflight_report.run(runs.config(), tmp_path, 8)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("BAD  processes ") and "process 1 has 1 devices, elsewhere 2" in line


def test_each_check_is_a_sign_of_life(tmp_path, monkeypatch):
    beats = []
    monkeypatch.setattr(watchdog, "beat", beats.append)
    preflight_report.run(runs.config(), tmp_path, 8)
    assert [beat.removeprefix("preflight: ").split()[0] for beat in dict.fromkeys(beats)] == [
        "processes", "versions", "config", "devices", "collective", "workdir", "workdir", "data", "run", "room",
    ]  # fmt: skip


def finding(number: int, **common) -> preflight_report.Finding:
    return preflight_report.Finding(f"process {number}", "/runs/x", common, "")


def test_the_one_that_differs_from_most_is_named():
    usual = preflight_report._usual([{"jax": "1"}, {"jax": "2"}, {"jax": "2"}])
    assert usual == {"jax": "2"} and preflight_report._differences({"jax": "1"}, usual) == "jax is 1, elsewhere 2"
    assert preflight_report._usual([{"jax": "1"}, {"jax": "2"}]) == {"jax": "1"}


def test_of_three_the_one_in_another_folder_is_named():
    read = {0: finding(0, seen=[0, 2]), 1: finding(1, seen=[1]), 2: finding(2, seen=[0, 2])}
    (line,) = preflight_report._apart(read)
    assert line.startswith("process 1: /runs/x does not show what process 0 and 1 more writes")
    assert preflight_report._apart({0: finding(0, seen=[0, 1]), 1: finding(1, seen=[0, 1])}) == []


def test_a_failed_exchange_is_reported(capsys, tmp_path, monkeypatch):
    def fails(text: str) -> list[str]:
        raise ValueError("Gloo all-gather failed")

    monkeypatch.setattr(processes, "exchange", fails)
    assert not preflight_report.run(runs.config(), tmp_path, 8)
    assert "Gloo all-gather failed" in capsys.readouterr().out


def test_processes_that_the_environment_names_and_do_not_come_are_bad(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "expected", lambda: (0, 3))
    _, found = checked(capsys, runs.config(), tmp_path)
    assert bad(found) == ["processes"] and "names 3 processes, but 1 have joined" in found["processes"]


@pytest.mark.processes
def test_the_command_and_the_flag_of_train_check_and_train_nothing(tmp_path):
    """A good machine by one name, then by the other a folder of another run."""
    flags = runs.command(tmp_path / "run")[3:]
    done = runs.call([*runs.python("preflight"), *flags])
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["ok", title] for title in TITLES]
    assert list((tmp_path / "run").iterdir()) == []
    claim(runs.config(seed=1), tmp_path / "run")
    done = runs.call([*runs.python("train"), *flags, "--preflight"])
    assert done.returncode == 2, done.stderr
    wanted = [["BAD" if title == "workdir" else "ok", title] for title in TITLES]
    assert [line.split()[:2] for line in done.stdout.splitlines()] == wanted
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]


def pair(workdirs, changes=({}, {})) -> list[list[str]]:
    """The lines of two processes, without those of gloo."""
    port, started = free_port(), []
    for number in (0, 1):
        names = {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": 2, "JAX_PROCESS_ID": number}
        env = runs.environment() | {name: str(value) for name, value in names.items()}
        arguments = [str(workdirs[number]), str(runs.data_dir()), json.dumps(changes[number])]
        command = [sys.executable, "-m", "tests.commands.preflight_peer", *arguments]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, cwd=runs.ROOT, env=env, stdout=pipe, stderr=pipe, text=True))
    try:
        outputs = [process.communicate(timeout=180) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], outputs
    return [[line for line in out.splitlines() if not line.startswith("[Gloo]")] for out, _ in outputs]


@pytest.mark.processes
def test_two_that_agree(tmp_path):
    lines, elsewhere = pair([tmp_path, tmp_path])
    assert [line.split()[:2] for line in lines[:-1]] == [["ok", title] for title in TITLES]
    assert lines[-1] == "good: True" and elsewhere == ["good: True"]
    out = "\n".join(lines)
    assert f"2 processes on 1 host ({HOST})" in out and "the same in all 2 processes" in out
    assert "each of 2 processes sees what the others write" in out and "2 x cpu (cpu), 1 in each process" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_another_folder_and_another_config_are_named_with_their_process(tmp_path):
    lines, elsewhere = pair([tmp_path / "a", tmp_path / "b"], ({}, {"optim.momentum": 0.5}))
    config, workdir = (line for line in lines if line.startswith("BAD "))
    assert config.startswith(f"BAD  config      process 1 ({HOST}): config.optim.momentum is 0.5, elsewhere 0.9")
    assert workdir.startswith(
        f"BAD  workdir     process 1 ({HOST}): {tmp_path}/b does not show what process 0 ({HOST})"
    )
    assert lines[-1] == "good: False" and elsewhere == ["good: False"]
    assert [list((tmp_path / name).iterdir()) for name in "ab"] == [[], []]
