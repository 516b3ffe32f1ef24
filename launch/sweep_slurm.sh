#!/bin/bash
# SLURM, the runs of a sweep as an array: a job a run, one process with one GPU each.
#
# Derived from  srun python -m ltpml_jax.main --config=configs/voc_mlt.py:0.3 --workdir=/shared/runs/voc
#               with what `ltpml sweep --print` lists after it.
# Start         launch/sweep_slurm.sh --config=configs/voc_mlt.py:0.3 --grid method.name=ndlp,bce --seeds=0,1,2 \
#                 --out=/shared/sweeps/voc
#               from the folder of this repository, which the nodes must see too: not by sbatch, as it submits itself.
#               The runs that are not finished go to a file ltpml-sweep.* here, a line each, and that many jobs begin.
# Edit          the #SBATCH lines below (add --account and --partition where the site wants them), and VENV.
#               --out and --config.data.dir must lie on a file system that all nodes see.
# Resume        the same command again, when the array has ended: runs that are finished are not in the new one.
#               Then `ltpml sweep` with the same flags has nothing to train; it writes sweep.json and prints the table.
# Preemption    120 s before the time limit SLURM sends SIGTERM to the process. It saves and exits with 143, and its job
#               queues itself again; so it does after 75, which is what a hang ends with, and where it was killed, until it
#               has been queued again 20 times (another number: RESTARTS) for whatever reason.
#
#SBATCH --job-name=ltpml_sweep
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=ltpml-%A_%a.log
set -euo pipefail

# shellcheck disable=SC1091  # made by the user
source "${VENV:-.venv}/bin/activate"

if [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
  list=$(mktemp "$PWD/ltpml-sweep.XXXXXX")
  python -m ltpml_jax sweep --print "$@" > "$list" || { status=$?; rm "$list"; exit "$status"; }
  runs=$(wc -l < "$list")
  if [ "$runs" -eq 0 ]; then
    rm "$list"
    echo "All runs of this sweep are finished."
    exit 0
  fi
  exec sbatch --array="0-$((runs - 1))" "$0" "$list"
fi

# The list is quoted for a shell, and was written by the command above.
run=()
eval "run=($(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$1"))"
status=0
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" "${run[@]}" || status=$?
if [ "$status" -eq 143 ] ||
  { [ "$status" -eq 75 ] || [ "$status" -eq 137 ]; } && [ "${SLURM_RESTART_COUNT:-0}" -lt "${RESTARTS:-20}" ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
