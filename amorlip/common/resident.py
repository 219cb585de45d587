"""Memory of this process, as Linux reports it."""

from __future__ import annotations

from pathlib import Path

from amorlip.common.errors import AmorlipError


def resident_mib(key: str) -> float:
    """`VmRSS`, the resident memory, or `VmHWM`, its peak so far [MiB]."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise AmorlipError(f"/proc/self/status has no {key}; memory can be measured on Linux only")
