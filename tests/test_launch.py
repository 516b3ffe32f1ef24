"""The launch files: run under stubs and fakes that behave as schedulers do, and checked for what they ask for."""

import glob
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import launchers, runs
from tests.helpers.launchers import JOIN, LAUNCH, REAL, call, environment, in_slurm, script, steps

pytestmark = pytest.mark.processes

RUN = ("--config=configs/voc_mlt.py:0.3", "--workdir=runs/a b")
TRAIN = ["python", "-m", "ltpml_jax.main"]
ECHO = 'text=$(printf "<%s>" "$@"); echo "$text"'  # a python that prints its arguments, in one piece
TINY = f'shift 2; exec {sys.executable} -m tests.helpers.tiny_main "$@"'  # in place of -m ltpml_jax.main
NAMES = ("local.sh", "slurm.sbatch", "sweep_slurm.sh", "tpu_pod.sh", "jobset.yaml")
# Options of sbatch that the file may use, with the form of their values.
SBATCH = {
    "account": r"\S+",
    "cpus-per-task": r"\d+",
    "gpus-per-node": r"(?:\w+:)?\d+",
    "job-name": r"\w+",
    "mem": r"\d+[KMGT]?",
    "nodes": r"\d+",
    "ntasks-per-node": r"\d+",
    "open-mode": r"append|truncate",
    "output": r"\S+",
    "partition": r"\S+",
    "requeue": r"",
    "signal": r"(?:[BR]:)?(?:\d+|[A-Z]+[12]?)@\d+",
    "time": r"(?:\d+-)?\d+(?::\d\d){0,2}",
}


def sbatch_options(text: str) -> dict[str, str]:
    """The options in front of the first command, where alone sbatch reads them; unknown ones fail."""
    options = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            break
        if line.startswith("#SBATCH"):
            match = re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(\S+))?", line)
            assert match and re.fullmatch(SBATCH.get(match[1], "unknown"), match[2] or ""), line
            options[match[1]] = match[2] or ""
    assert text.count("\n#SBATCH") == len(options)
    return options


def shellcheck(*paths: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).parent / "shellcheck"
    return subprocess.run([tool, *paths], capture_output=True, text=True, timeout=60, check=False)


def test_shellcheck_finds_nothing_in_the_shell_files(tmp_path):
    scripts = [path for path in LAUNCH.iterdir() if path.read_text().startswith("#!")]
    assert sorted(path.name for path in scripts) == ["local.sh", "slurm.sbatch", "sweep_slurm.sh", "tpu_pod.sh"]
    done = shellcheck(*scripts)
    assert done.returncode == 0, done.stdout
    (tmp_path / "bad.sh").write_text('#!/bin/bash\nfor file in $1; do rm $file; done\n[ "$HOM" = a ]\n')
    assert "SC2086" in shellcheck(tmp_path / "bad.sh").stdout


@pytest.mark.parametrize("name", NAMES)
def test_the_header_says_what_one_must_know(name):
    header = [line for line in (LAUNCH / name).read_text().splitlines() if line.startswith("# ")]
    for word in ("Derived from  ", "Start         ", "Edit          ", "Resume        ", "Preemption    "):
        assert sum(line.startswith(f"# {word}") for line in header) == 1, word
    text = " ".join(line.strip("# \\") for line in header)
    derived = text.split("Derived from")[1].split("Start ")[0]
    assert re.search(
        r"python -m ltpml_jax\.main (--multihost )?--config=configs/voc_mlt\.py:0\.3 --workdir=\S+", derived
    )


def test_local_runs_the_command_and_hands_its_arguments_on(tmp_path):
    done = call(script("local.sh", *RUN), environment(tmp_path, ECHO))
    assert done.stdout.splitlines() == ["<-m><ltpml_jax.main><--config=configs/voc_mlt.py:0.3><--workdir=runs/a b>"]
    done = call(script("local.sh", *RUN), environment(tmp_path, ECHO, PREFLIGHT="1"))
    assert ["<--preflight>" in line for line in done.stdout.splitlines()] == [True, False]


@pytest.mark.skipif(
    any(map(glob.glob, ("/dev/nvidia[0-9]*", "/dev/accel[0-9]*", "/dev/vfio/[0-9]*"))), reason="has an accelerator"
)
def test_local_keeps_memory_on_the_cpu_unless_a_variable_says_otherwise(tmp_path):
    show = 'echo "$MALLOC_ARENA_MAX $MALLOC_MMAP_MAX_ $MALLOC_TRIM_THRESHOLD_"'
    assert call(script("local.sh", *RUN), environment(tmp_path, show)).stdout == "1 0 100000000000\n"
    changed = environment(tmp_path, show, MALLOC_ARENA_MAX="4", MALLOC_MMAP_MAX_="")
    assert call(script("local.sh", *RUN), changed).stdout == "4  100000000000\n"


def test_local_gives_signals_to_python_and_its_status_back(tmp_path):
    waits = f"trap 'exit 143' TERM; touch {tmp_path}/up; while :; do sleep 0.01; done"
    with launchers.started(script("local.sh", *RUN), environment(tmp_path, waits)) as process:
        launchers.until((tmp_path / "up").exists, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143


def test_a_preflight_that_fails_stops_every_launch(tmp_path):
    fails = f'{ECHO}; case "$*" in *--preflight*) exit 2;; esac'
    for env, name in ((environment, "local.sh"), (in_slurm, "slurm.sbatch")):
        done = call(script(name, *RUN), env(tmp_path / name, fails, PREFLIGHT="1"))
        assert done.returncode == 2 and done.stdout, done
        assert all("<--preflight>" in line for line in done.stdout.splitlines())


def test_tpu_pod_asks_gcloud_for_the_command_on_all_workers(tmp_path):
    env = environment(tmp_path, ECHO, TPU_NAME="slice", ZONE="us-west4-a", FOLDER=str(tmp_path / "the clone"))
    assert call(script("tpu_pod.sh", *RUN), env).returncode == 0
    *asked, command = (tmp_path / "gcloud").read_text().split("\0")[:-1]
    words = ["compute", "tpus", "tpu-vm", "ssh", "slice", "--zone=us-west4-a", "--worker=all"]
    assert asked == words and command.startswith("--command=")
    executed = command.rpartition(" exec ")[2]
    assert shlex.split(executed) == [*TRAIN, "--multihost", *RUN]


def test_what_tpu_pod_sends_runs_on_a_host(tmp_path):
    clone = tmp_path / "the clone"
    for preflight in ("", "1"):
        env = environment(clone, ECHO, TPU_NAME="slice", ZONE="z", FOLDER=str(clone), PREFLIGHT=preflight)
        assert call(script("tpu_pod.sh", *RUN), env).returncode == 0
        command = (clone / "gcloud").read_text().split("\0")[-2].removeprefix("--command=")
        if not (clone / ".venv").exists():
            (clone / "venv").rename(clone / ".venv")
            (clone / ".venv" / "bin" / "activate").write_text(f'PATH="{clone}/.venv/bin:$PATH"\n')
        done = call(["bash", "-c", command], env)
        line = "<-m><ltpml_jax.main><--multihost><--config=configs/voc_mlt.py:0.3><--workdir=runs/a b>"
        assert done.stdout.splitlines() == [f"{line}<--preflight>"] * bool(preflight) + [line], done.stderr


def test_tpu_pod_names_the_variable_that_is_missing(tmp_path):
    done = call(script("tpu_pod.sh", *RUN), environment(tmp_path, ECHO, TPU_NAME="slice"))
    assert done.returncode != 0 and "ZONE: is the zone of the slice" in done.stderr
    assert not (tmp_path / "gcloud").exists()


def test_sbatch_options_fit_one_process_a_gpu():
    options = sbatch_options((LAUNCH / "slurm.sbatch").read_text())
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert options["signal"].startswith("TERM@") and int(options["signal"].partition("@")[2]) >= 60
    assert "requeue" in options and options["open-mode"] == "append"


@pytest.mark.parametrize(
    "wrong", ["#SBATCH --ntask-per-node=8", "#SBATCH --nodes=two", "#SBATCH nodes=2", "set -e\n#SBATCH --mem=4G"]
)
def test_a_wrong_sbatch_line_is_found(wrong):
    text = (LAUNCH / "slurm.sbatch").read_text()
    with pytest.raises(AssertionError):
        sbatch_options(text.replace("#SBATCH --requeue", wrong))


def test_slurm_starts_processes_that_join(tmp_path):
    done = call(script("slurm.sbatch", *RUN), in_slurm(tmp_path, JOIN), limit=60)
    assert done.returncode == 0, done.stderr
    assert launchers.joined(done.stdout) == [f"joined {rank} 2 21 {' '.join(RUN)}" for rank in (0, 1)], done
    (step,) = steps(tmp_path)
    assert step["command"] == [*TRAIN, *RUN] and step["options"]["--kill-on-bad-exit"] == "0"


@pytest.mark.parametrize("status", [1, 2, 134])
def test_slurm_passes_the_status_of_a_failing_process_on(tmp_path, status):
    done = call(script("slurm.sbatch", *RUN), in_slurm(tmp_path, f"exit $((SLURM_PROCID * {status}))"))
    assert done.returncode == status and not (tmp_path / "scontrol").exists()


@pytest.mark.parametrize(("status", "before", "again"), [(75, 19, True), (137, 19, True), (75, 20, False)])
@pytest.mark.parametrize("preflight", ["", "1"])
def test_slurm_queues_a_job_again_that_lost_a_process_but_not_for_ever(tmp_path, status, before, again, preflight):
    env = in_slurm(tmp_path, f"exit $((SLURM_PROCID * {status}))")
    done = call(
        script("slurm.sbatch", *RUN), env | {"SLURM_RESTART_COUNT": str(before), "PREFLIGHT": preflight, "RESTARTS": ""}
    )
    assert done.returncode == status and (tmp_path / "scontrol").exists() == again, done.stderr
    assert len(steps(tmp_path)) == 1  # nothing trains after a preflight that failed


def test_slurm_queues_a_preempted_job_again(tmp_path):
    waits = f"trap 'exit 143' TERM; touch {tmp_path}/up$SLURM_PROCID; while :; do sleep 0.01; done"
    env = in_slurm(tmp_path, waits)
    with launchers.started(script("slurm.sbatch", *RUN), env) as process:
        launchers.until(lambda: steps(tmp_path) and len(list(tmp_path.glob("up*"))) == 2, process)
        os.kill(steps(tmp_path)[0]["pid"], signal.SIGTERM)  # to the step, and not to the script
        assert process.wait(10) == 143
    assert (tmp_path / "scontrol").read_text() == f"requeue {env['SLURM_JOB_ID']}\n"


def test_slurm_trains_and_a_preempted_job_is_saved_and_queued_again(tmp_path):
    """The file, the trainer, 2 processes, SIGTERM; that such a run resumes is tested in test_processes.py."""
    changes = {"train__epochs": 1, "train__checkpoint_every": 2, "method__name": "bce"}
    arguments = runs.tiny_command(tmp_path / "run", **changes)[3:]
    env = in_slurm(tmp_path, TINY)
    with launchers.started(script("slurm.sbatch", *arguments), env) as process:
        launchers.until((tmp_path / "run" / "checkpoints" / "2").exists, process, limit=120)
        os.kill(steps(tmp_path)[0]["pid"], signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143 and (tmp_path / "scontrol").exists(), stderr
    stopped = max(int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert runs.lines(tmp_path / "run")[-1]["step"] == stopped >= 2


def test_slurm_ends_a_wrong_command_with_its_sentence_and_does_not_queue_it_again(tmp_path):
    arguments = runs.command(tmp_path / "run", train__epochs=0)[3:]
    done = call(script("slurm.sbatch", *arguments), in_slurm(tmp_path, REAL), limit=60)
    assert done.returncode == 2 and "error: " in done.stderr, done.stderr
    assert not (tmp_path / "scontrol").exists()
