"""GPUs of this machine for one process: no two processes of amorlip use the same one."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from amorlip.common import files, slurm
from amorlip.common.errors import AmorlipError

VISIBLE = "CUDA_VISIBLE_DEVICES"
SLURMS = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
NO_GPU = ("-1", "NoDevFiles")
"""What schedulers and people write to CUDA_VISIBLE_DEVICES to give no GPU."""
CONTROL = Path("/dev/nvidiactl")
POLL_S = 5
_held: list[IO[str]] = []
"""Open files whose locks this process holds until it ends."""


def visible() -> list[str]:
    """The GPUs that this process may use, by index or UUID: those of CUDA_VISIBLE_DEVICES, else all of the machine."""
    if (given := os.environ.get(VISIBLE)) is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    listed = subprocess.run([program, "-L"], capture_output=True, text=True, check=False).stdout
    return [str(number) for number, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def expected() -> str | None:
    """Why this process should find a GPU; None where it need not. CUDA_VISIBLE_DEVICES decides, where it is set."""
    if (given := os.environ.get(VISIBLE)) is not None:
        names = [name for name in visible() if name not in NO_GPU]
        return f"{VISIBLE} is {given}" if names else None
    for name in SLURMS:
        if os.environ.get(name):
            return f"this Slurm job has GPUs ({name} is {os.environ[name]})"
    return f"this machine has a GPU ({CONTROL} exists)" if CONTROL.exists() else None


def hide() -> None:
    """Let this process, and those that it starts, use no GPU. Before PyTorch looks for one."""
    os.environ[VISIBLE] = ""


def claim(count: int) -> None:
    """Set CUDA_VISIBLE_DEVICES to `count` GPUs that no other process has claimed; waits until there are so many.

    Each is held by a lock file until this process ends, however it ends. If fewer than `count` are visible at all, the
    variable is left as it is: what uses the GPUs then says what is missing.
    """
    names = visible()
    if len(names) < count:
        return
    taken = _lock(names, count)
    if len(taken) < count:
        print(f"{count} of the GPUs {', '.join(names)} are needed, and other processes use them; waiting",
              file=sys.stderr, flush=True)  # fmt: skip
    while len(taken) < count:
        time.sleep(POLL_S)
        taken = _lock(names, count)
    _held.extend(taken.values())
    os.environ[VISIBLE] = ",".join(taken)


def _lock(names: list[str], count: int) -> dict[str, IO[str]]:
    """`count` of the GPUs with their locked files; none, if fewer are free."""
    folder = _folder()
    taken: dict[str, IO[str]] = {}
    for name in names:
        if len(taken) == count:
            break
        file = files.open_to_append(folder / name.replace("/", "_"), "a")
        if files.lock(file):
            taken[name] = file
        else:
            file.close()
    if len(taken) < count:
        for file in taken.values():
            file.close()
        return {}
    return taken


def _folder() -> Path:
    """One for each Slurm job: with cgroups, the first GPU of every job is number 0.

    Raises AmorlipError if it is not this user's alone: its name can be guessed, and others could hold its locks.
    """
    parts = ["amorlip-gpus", str(os.getuid()), slurm.job_id()]
    folder = Path(tempfile.gettempdir()) / "-".join(part for part in parts if part)
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise AmorlipError(f"{folder} can be changed by others; delete it, or set TMPDIR to a folder of your own")
    return folder
