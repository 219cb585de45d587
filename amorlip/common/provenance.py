"""Versions, code revision and machine: what provenance.json says of a run (training/results.py writes it) and
evaluations say of themselves."""

from __future__ import annotations

import functools
import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch", "torchvision", "open_clip_torch", "numpy", "pandas", "pillow", "safetensors", "webdataset", "img2dataset",
    "snakemake",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of those whose code computes results."""
    from amorlip import __version__

    found = {"python": platform.python_version(), "amorlip": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def revision() -> str | None:
    """The git commit of this code, with `+changes` if files differ from it; None outside a checkout or without git."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+changes" if changes else commit


@functools.cache
def source_digest() -> str:
    """Digest of this package's Python files. In a cache's key, it invalidates entries after an edit of the code.

    The revision would not do: it does not change with an edit that is not committed.
    """
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def machine() -> dict[str, Any]:
    """What the code runs on."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.version.cuda if cuda else None,
    }


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
