"""Stand-ins for programs of a machine, first on PATH."""

from __future__ import annotations

import os
from pathlib import Path


def install(folder: Path, monkeypatch, **scripts: str) -> None:
    """Put shell scripts on PATH, each under its name, with `_` for `-`."""
    folder.mkdir(exist_ok=True)
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
