#!/bin/bash
# One machine, all its devices, one process.
#
# Derived from  python -m ltpml_jax.main --config=configs/voc_mlt.py:0.3 --workdir=runs/voc
# Start         launch/local.sh --config=configs/voc_mlt.py:0.3 --workdir=runs/voc
#               from the folder of this repository; with PREFLIGHT=1 in front, everything is checked first.
# Edit          nothing; VENV=FOLDER names a virtual environment other than .venv.
# Resume        the same command again; it resumes from the newest checkpoint.
# Preemption    SIGTERM (kill PID, or a machine that shuts down) saves the run and ends it with status 143.
set -euo pipefail

# shellcheck disable=SC1091  # made by the user
source "${VENV:-.venv}/bin/activate"
if [ -n "${PREFLIGHT:-}" ]; then
  python -m ltpml_jax.main --preflight "$@"
fi
exec python -m ltpml_jax.main "$@" # in place of this shell, so that signals reach Python
