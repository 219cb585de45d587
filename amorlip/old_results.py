"""Results of earlier versions, in folders with other names: recognized, so that they are not silently made again.

Those versions also had other names for some keys. As Snakemake compares a job's settings with those of its last run, it
would run every job of such a study again, training included.
"""

from __future__ import annotations

from pathlib import Path

from amorlip.common.errors import AmorlipError
from amorlip.study import Study


def refuse_old_layout(study: Study, results: Path) -> None:
    """Raise AmorlipError, with the commands that move the folders, if `results` holds this study under old names."""
    renamed = [(results / "benchmarks", results / "tasks")]
    owners = [results / study.selection.name, *(results / "corpora" / name for name in study.corpora)]
    renamed += [(owner / "benchmarks", owner / "timings") for owner in owners]
    renamed = [(old, new) for old, new in renamed if old.is_dir()]
    if not renamed:
        return
    for old, new in renamed:
        if new.exists():
            raise AmorlipError(
                f"{old} is the earlier name of {new}, and both exist; move the folders that only {old} has to {new},"
                f" then delete {old}"
            )
    moves = " && ".join(f"mv {old} {new}" for old, new in renamed)
    raise AmorlipError(
        f"{results} was made by an earlier version, which had other names for folders and keys. To keep what it holds:"
        f" {moves}; then, before you change any key, run this snakemake command once with --touch, which marks the"
        " results as up to date"
    )
