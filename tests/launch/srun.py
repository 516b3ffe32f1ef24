"""A stand-in for SLURM's srun: 2 processes (or FAKE_SRUN_TASKS) here with the variables of a step, its refusal of
unknown options, SIGTERM passed on to the processes, and its exit status: the highest of all."""

import json
import os
import re
import signal
import subprocess
import sys

TASKS = int(os.environ.get("FAKE_SRUN_TASKS", "2"))
OPTIONS = {"--cpus-per-task": r"\d+", "--kill-on-bad-exit": "[01]"}

command = sys.argv[1:]
options = {}
while command and command[0].startswith("-"):
    name, _, value = command.pop(0).partition("=")
    if name not in OPTIONS or not re.fullmatch(OPTIONS[name], value):
        sys.exit(f"srun: unrecognized option '{name}={value}'")
    options[name] = value

step = {"SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": str(TASKS), "SLURM_STEP_NUM_NODES": "1"}
tasks: list[subprocess.Popen] = []
signal.signal(signal.SIGTERM, lambda number, frame: [task.send_signal(number) for task in tasks])
for rank in range(TASKS):
    own = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
    tasks.append(subprocess.Popen(command, env=os.environ | step | own))
with open(os.environ["FAKE_SRUN_LOG"], "a") as log:
    line = {"pid": os.getpid(), "tasks": [task.pid for task in tasks], "options": options, "command": command}
    log.write(json.dumps(line) + "\n")
statuses = [task.wait() for task in tasks]
sys.exit(max(status if status >= 0 else 128 - status for status in statuses))
