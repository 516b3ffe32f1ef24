#!/bin/bash
# One machine, all its devices, one process.
#
# Derived from  python -m ltpml_jax.main --config=configs/voc_mlt.py:0.3 --workdir=runs/voc
# Start         launch/local.sh --config=configs/voc_mlt.py:0.3 --workdir=runs/voc
#               from the folder of this repository; with PREFLIGHT=1 in front, everything is checked first.
# Edit          nothing; VENV=FOLDER names a virtual environment other than .venv, and a MALLOC_ variable stays as set.
# Resume        the same command again; it resumes from the newest checkpoint.
# Preemption    SIGTERM (kill PID, or a machine that shuts down) saves the run and ends it with status 143.
set -euo pipefail

# shellcheck disable=SC1091  # made by the user
source "${VENV:-.venv}/bin/activate"
# A step on the CPU takes gigabytes, which glibc by default gives back to the system after every step.
if ! (compgen -G '/dev/nvidia[0-9]*' || compgen -G '/dev/accel[0-9]*' || compgen -G '/dev/vfio/[0-9]*') >/dev/null; then
  export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX-1}" MALLOC_MMAP_MAX_="${MALLOC_MMAP_MAX_-0}"
  export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_-100000000000}"
fi
if [ -n "${PREFLIGHT:-}" ]; then
  python -m ltpml_jax.main --preflight "$@"
fi
exec python -m ltpml_jax.main "$@" # in place of this shell, so that signals reach Python
