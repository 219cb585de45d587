"""What `config/paper.yaml` asks of a cluster: jobs per rule and their resources, frozen in paper_jobs.csv."""

from __future__ import annotations

import csv
import os
import re
import resource
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers import REPOSITORY

pytestmark = pytest.mark.workflow

FROZEN = Path(__file__).with_name("paper_jobs.csv")
COLUMNS = ("rule", "jobs", "cpus", "gpu", "mem_mb", "runtime")
# It takes 6 to 7 s; twice that, because a machine with other work counts more for the same instructions.
CPU_SECONDS = 16
JOB = re.compile(r"^(?:local)?rule (\w+):\n(.*?)(?=^Shell command|^\[|\Z)", re.MULTILINE | re.DOTALL)


def requests(output: str) -> list[tuple[str, ...]]:
    """A row of `COLUMNS` for jobs of a rule with the same resources, in what a dry run prints."""
    found: Counter[tuple[str, ...]] = Counter()
    for rule, text in JOB.findall(output):
        asked = dict(re.findall(r"\b(threads|gpu|mem_mb|runtime)[=:] ?(\d+)", text))
        found[(rule, asked.get("threads", "1"), *(asked.get(key, "") for key in ("gpu", "mem_mb", "runtime")))] += 1
    return sorted((rule, str(count), *rest) for (rule, *rest), count in found.items() if rule != "all")


def test_jobs_and_resources_of_the_paper(tmp_path):
    """If a change is intended: replace the file by the rows that the message shows."""
    command = ["snakemake", "--snakefile", str(REPOSITORY / "workflow/Snakefile"), "-n", "--cores", "1000"]
    command += ["--configfile", str(REPOSITORY / "config/paper.yaml")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    with FROZEN.open(encoding="utf-8", newline="") as file:
        frozen = [tuple(row) for row in csv.reader(file)]
    rows = requests(done.stdout)
    assert [COLUMNS, *rows] == frozen, "\n".join(map(",".join, [COLUMNS, *rows]))
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < CPU_SECONDS, f"the dry run took {seconds:.1f} s of CPU time"
