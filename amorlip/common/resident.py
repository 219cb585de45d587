"""Memory of this process and of the machine, as Linux reports it."""

from __future__ import annotations

from pathlib import Path

from amorlip.common.errors import AmorlipError


def resident_mib(key: str) -> float:
    """`VmRSS`, the resident memory, or `VmHWM`, its peak so far [MiB]."""
    return _mib("/proc/self/status", key)


def available_mib() -> float:
    """What programs could still take without swapping [MiB]."""
    return _mib("/proc/meminfo", "MemAvailable")


def _mib(path: str, key: str) -> float:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise AmorlipError(f"{path} has no {key}; memory can be measured on Linux only")
