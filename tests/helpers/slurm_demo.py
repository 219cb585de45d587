"""Runs the demo's training and evaluation as Slurm jobs and compares the results with those of `make demo`.

`python -m tests.helpers.slurm_demo`, in the repository's root after `make demo`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from amorlip.common.files import sha256
from tests.helpers import slurm, slurm_database

LOCAL, REMOTE = Path("results/demo"), Path("results/slurm_demo")
COMMAND = ["snakemake", "--configfile", "tests/helpers/slurm_demo.yaml"]


def different(local: Path, remote: Path) -> list[str]:
    """Weights and tables of `local` that `remote` has otherwise or not at all."""
    found = [*local.glob("runs/*/*/model.safetensors"), *local.glob("tables/*.csv")]
    assert found, f"{local} has no results; run `make demo` first"
    names = [path.relative_to(local) for path in found]
    return [str(one) for one in names if not (remote / one).exists() or sha256(local / one) != sha256(remote / one)]


def main() -> int:
    """Exit code 0 where every number is that of the local run."""
    if reason := slurm.missing():
        sys.exit(f"no Slurm: {reason}")
    accounting = slurm_database.missing() is None
    with tempfile.TemporaryDirectory() as folder, slurm.running(accounting=accounting) as started:
        options = slurm.profile_options(Path(folder), accounting=accounting)
        if code := subprocess.run([*COMMAND, *options]).returncode:
            return code
        if accounting:
            subprocess.run(["sacct", "--allocations", "--format=JobID,Account,State,Elapsed,Comment%60"], check=True)
        partitions = sorted(f"{job['Comment']}: {job.get('TresPerJob', 'no GPU')}" for job in started.jobs().values())
    print(*partitions, sep="\n")
    found = different(LOCAL, REMOTE)
    print(f"other than in {LOCAL}: {', '.join(found)}" if found else f"weights and tables are those of {LOCAL}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
