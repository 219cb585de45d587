"""Output goes to the end of a log; the terminal gets what is meant for it."""

from __future__ import annotations

import subprocess
import sys

PRINT = """
import os, sys
from pathlib import Path
from amorlip.common import terminal
terminal.link(Path(sys.argv[2]), Path(sys.argv[1]))
stream = terminal.append_to(Path(sys.argv[1]))
print("progress", file=stream)
print("of python")
os.system("echo of a child >&2")
"""


def test_a_second_attempt_keeps_what_the_first_one_wrote(tmp_path):
    log, link = tmp_path / "run" / "train.log", tmp_path / "logs" / "run.log"
    for attempt in (1, 2):
        link.unlink(missing_ok=True)  # as Snakemake does before a job
        command = [sys.executable, "-c", PRINT, str(log), str(link)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "progress\n")
        assert sorted(link.read_text().splitlines()) == sorted(["of a child", "of python"] * attempt)
    assert not link.readlink().is_absolute()
