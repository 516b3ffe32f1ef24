"""launch/sweep_slurm.sh: what it submits, and what each job of the array then runs."""

import json
import os
import shlex
import signal
from pathlib import Path

import pytest

from tests.helpers import launchers, runs
from tests.helpers.launchers import LAUNCH, REAL, call, environment, executable, in_slurm, script, steps
from tests.test_launch import ECHO, sbatch_options

pytestmark = pytest.mark.processes

SWEEP = (f"--config={runs.ROOT}/configs/digits_mlt.py:0.3", "--grid", "ndlp.alpha=(0.1,0.9),(0.2,0.8)", "--seeds=0,1")


def submitted(folder, *arguments: str):
    """What the submitting call ends in, with a folder of its own to write its list to."""
    env = environment(folder, REAL, PYTHONPATH=str(runs.ROOT))
    executable(folder / "bin" / "sbatch", f'printf "%s\\0" "$@" > "{folder}/sbatch"')
    command = ["bash", "-c", f'cd "{folder}" && exec "$@"', "-", *script("sweep_slurm.sh", *arguments)]
    return call(command, env, limit=60)


def test_its_sbatch_lines_ask_for_one_gpu_and_a_signal():
    options = sbatch_options((LAUNCH / "sweep_slurm.sh").read_text())
    assert (options["nodes"], options["ntasks-per-node"], options["gpus-per-node"]) == ("1", "1", "1")
    assert options["signal"] == "TERM@120" and "%a" in options["output"] and "array" not in options


def test_a_job_a_run_is_submitted_and_each_runs_its_own(tmp_path):
    out = tmp_path / "sweep of two"
    done = submitted(tmp_path, *SWEEP, f"--out={out}")
    assert done.returncode == 0, done.stderr
    array, own, listed = (tmp_path / "sbatch").read_text().split("\0")[:-1]
    assert (
        array == "--array=0-3" and own == str(LAUNCH / "sweep_slurm.sh") and listed.startswith(f"{tmp_path}/ltpml-sw")
    )
    for number, name in ((0, "alpha=0.1_0.9,seed=0"), (3, "alpha=0.2_0.8,seed=1")):
        folder = tmp_path / str(number)
        env = in_slurm(folder, ECHO, SLURM_ARRAY_TASK_ID=str(number), FAKE_SRUN_TASKS="1")
        done = call(script("sweep_slurm.sh", listed), env)
        assert done.returncode == 0, done.stderr
        (step,) = steps(folder)
        assert (
            step["command"][:3] == ["python", "-m", "ltpml_jax.main"] and f"--workdir={out / name}" in step["command"]
        )
        assert f"--config.ndlp.alpha=({name[6:9]},{name[10:13]})" in step["command"]
        assert done.stdout.strip() == "".join(f"<{word}>" for word in step["command"][1:])


def test_only_what_is_not_finished_is_submitted(tmp_path):
    out = tmp_path / "out"
    for name in ("alpha=0.1_0.9,seed=0", "alpha=0.1_0.9,seed=1", "alpha=0.2_0.8,seed=0", "alpha=0.2_0.8,seed=1"):
        assert not (tmp_path / "sbatch").exists()
        (out / name).mkdir(parents=True)
        for file in ("results.json", "predictions-test.npz"):
            (out / name / file).touch()
    done = submitted(tmp_path, *SWEEP, f"--out={out}")
    assert (done.returncode, done.stdout) == (0, "All runs of this sweep are finished.\n"), done.stderr
    assert not (tmp_path / "sbatch").exists() and not list(tmp_path.glob("ltpml-sweep.*"))
    (out / "alpha=0.2_0.8,seed=0" / "results.json").unlink()
    assert submitted(tmp_path, *SWEEP, f"--out={out}").returncode == 0
    array, _, listed = (tmp_path / "sbatch").read_text().split("\0")[:-1]
    (line,) = Path(listed).read_text().splitlines()
    assert array == "--array=0-0" and shlex.split(line)[-1] == f"--workdir={out}/alpha=0.2_0.8,seed=0"


def test_a_sweep_that_cannot_be_ends_with_its_sentence_and_submits_nothing(tmp_path):
    done = submitted(tmp_path, SWEEP[0], "--grid", "ndlp.alfa=1", f"--out={tmp_path}/out")
    assert "did you mean 'ndlp.alpha'" in runs.sentence(done)
    assert not (tmp_path / "sbatch").exists() and not list(tmp_path.glob("ltpml-sweep.*"))


def test_a_preempted_job_of_the_array_is_queued_again(tmp_path):
    (tmp_path / "list").write_text("python -m ltpml_jax.main\n")
    waits = f"trap 'exit 143' TERM; touch {tmp_path}/up; while :; do sleep 0.01; done"
    env = in_slurm(tmp_path, waits, SLURM_ARRAY_TASK_ID="0", FAKE_SRUN_TASKS="1")
    with launchers.started(script("sweep_slurm.sh", str(tmp_path / "list")), env) as process:
        launchers.until(lambda: steps(tmp_path) and (tmp_path / "up").exists(), process)
        os.kill(json.loads((tmp_path / "srun").read_text())["pid"], signal.SIGTERM)
        assert process.wait(10) == 143
    assert (tmp_path / "scontrol").read_text() == f"requeue {env['SLURM_JOB_ID']}\n"
