"""Whether the Snakemake that submitted a job still runs: jobs outlive one that was killed or lost its terminal."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path

LOGS = Path(".snakemake/log")


def gone(run_ids: Iterable[str], folder: Path) -> dict[str, str | None]:
    """Run id → why its Snakemake is taken for gone, None if it runs or cannot be known.

    `run_ids` are the names of jobs that were submitted in `folder`. A running Snakemake keeps its log open, which only
    its own host shows.
    """
    logs = sorted((folder / LOGS).glob("*.snakemake.log"), reverse=True)
    return {run_id: _why(_log_of(run_id, logs)) for run_id in set(run_ids)}


def _log_of(run_id: str, logs: list[Path]) -> Path | None:
    return next((log for log in logs if run_id in log.read_text(encoding="utf-8", errors="replace")), None)


def _why(log: Path | None) -> str | None:
    if log is None:
        return "the log of the Snakemake that submitted it is missing"
    text = log.read_text(encoding="utf-8", errors="replace")
    if re.search(r"^Complete log\(s\): ", text, re.MULTILINE):
        return "the Snakemake that submitted it has ended"
    host = re.search(r"^ *Host: (\S+)$", text, re.MULTILINE)
    if host is None or host[1] != socket.gethostname() or _is_open(log):
        return None
    return "the Snakemake that submitted it is no longer running"


def _is_open(path: Path) -> bool:
    wanted = str(path.resolve())
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(descriptor) == wanted:
                return True
        except OSError:  # another user's process, or one that has just ended
            continue
    return False
