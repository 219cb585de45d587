#!/usr/bin/env bash
# Snakemake runs this in the working directory, with the new environment activated.
set -euo pipefail
if [ ! -f envs/requirements.lock ]; then
  echo "envs/requirements.lock: not found; start Snakemake in a clone of the repository" >&2
  exit 1
fi
python -m pip install --require-hashes --no-deps -r envs/requirements.lock
python -m pip install --no-deps --no-build-isolation --editable .
