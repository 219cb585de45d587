#!/usr/bin/env bash
# Snakemake runs this in the repository, with the new environment activated.
set -euo pipefail
python -m pip install --require-hashes --no-deps -r envs/requirements.lock
python -m pip install --no-deps --no-build-isolation --editable .
