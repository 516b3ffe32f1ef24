#!/bin/bash
# A TPU pod slice (v5litepod-256, for example) of the Cloud TPU API: one process a host, with all its chips.
# That API does not have TPU7x and later; for those see jobset.yaml.
#
# Derived from  gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all \
#                 --command='python -m ltpml_jax.main --multihost --config=configs/voc_mlt.py:0.3 --workdir=/shared/voc'
# Start         TPU_NAME=NAME ZONE=ZONE launch/tpu_pod.sh --config=configs/voc_mlt.py:0.3 --workdir=/shared/voc
#               in tmux on a machine that stays up; with PREFLIGHT=1 in front, everything is checked first.
# Edit          nothing here. Before, on all hosts (the derived command with another --command): clone this repository
#               into FOLDER, by default ltpml_jax in the home directory; in it
#               python3 -m venv .venv && .venv/bin/pip install -e . 'jax[tpu]'
#               and mount a file system (NFS, for example) for the work directory and --config.data.dir.
# Resume        the same command again; it resumes from the newest checkpoint.
# Preemption    SIGTERM saves the run and ends it with status 143; by hand, the derived command with
#               --command="pkill -TERM -f '[l]tpml_jax.main'". A spot slice may be shut down without time for that:
#               set --config.train.checkpoint_every. It is then listed as PREEMPTED; make a new one, and resume.
set -euo pipefail

: "${TPU_NAME:?is the name of the slice}" "${ZONE:?is the zone of the slice}"
train="python -m ltpml_jax.main --multihost$(printf ' %q' "$@")"
remote="cd $(printf %q "${FOLDER:-ltpml_jax}") && . .venv/bin/activate &&"
if [ -n "${PREFLIGHT:-}" ]; then
  remote+=" $train --preflight &&"
fi
exec gcloud compute tpus tpu-vm ssh "$TPU_NAME" --zone="$ZONE" --worker=all --command="$remote exec $train"
