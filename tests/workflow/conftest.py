"""A study whose stages are stand-ins that only write their outputs: what is tested is Snakemake's own decisions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers import REPOSITORY, dry_runs

STAND_IN = f"""#!{sys.executable}
import json, os, pathlib, sys
words = sys.argv[1:]
options, name = {{}}, None
for word in words[1:]:
    if word.startswith("--"):
        name = word[2:]
        options[name] = []
    else:
        options[name].append(word)
made = {{
    "artwork": ["pictures.parquet"],
    "download": ["download.json"],
    "shards": ["manifest.json", "index.parquet"],
    "tasks": ["task.json"],
    "train": ["model.safetensors", "metrics.jsonl", "run.yaml", "provenance.json"],
}}
stage = words[0]
folder = (options.get("output") or options.get("folder") or [""])[0]
files = [os.path.join(folder, file) for file in made[stage]] if stage in made else options.get("outputs", [folder])
if "part" in options:
    files = [os.path.join(folder, "parts", options["part"][0] + "-of-" + options["parts"][0] + ".json")]
if stage == "evaluate":
    tasks = json.loads(pathlib.Path(options["settings"][0]).read_text())["tasks"]
    names = [f"{{task}}.{{ending}}" for task in tasks for ending in ("json", "parquet")]
    files = [os.path.join(folder, name) for name in names] + options["record"]
for file in files:
    path = pathlib.Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = pathlib.Path(options["settings"][0]).read_text()
    path.write_text(settings if stage == "study_config" else json.dumps({{"stage": stage, **options}}))
if stage == "evaluate":
    pathlib.Path(options["record"][0]).write_text(json.dumps({{"files": names}}))
undeclared = {{
    "artwork": ("packages.json", [{{"pictures": 1}}], "pictures/a.png"),
    "download": ("download.json", {{"shards": ["00000.tar"]}}, "00000.tar"),
    "tasks": ("task.json", {{"source": {{}}, "files": {{"test/0.tar": ""}}}}, "test/0.tar"),
}}
if stage in undeclared and "part" not in options:
    record, content, file = undeclared[stage]
    pathlib.Path(folder, record).write_text(json.dumps(content))
    pathlib.Path(folder, file).parent.mkdir(exist_ok=True)
    pathlib.Path(folder, file).touch()
"""


class Study:
    """The demo's workflow in a separate folder, which may hold another study's files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        commands = folder / "commands"
        if not commands.is_dir():
            commands.mkdir()
            (commands / "amorlip").write_text(STAND_IN)
            (commands / "amorlip").chmod(0o755)
        paths = [str(commands), str(Path(sys.executable).parent), os.environ["PATH"]]
        self.environment = {**os.environ, "PATH": os.pathsep.join(paths)}

    def copy(self, folder: Path) -> Study:
        """This study with its results in another folder, to change them there."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Study(folder)

    def snakemake(self, *arguments: str, fails: bool = False, **changes) -> str:
        """Run Snakemake with keys of the top-level configuration changed; its output."""
        extra = self.folder / "changes.yaml"
        extra.write_text(yaml.safe_dump(changes))
        command = ["--snakefile", str(REPOSITORY / "workflow/Snakefile"), *arguments]
        if changes:
            command += ["--configfile", str(extra)]
        if "-n" in arguments:
            code, output = dry_runs.snakemake(command, self.folder, self.environment)
        else:
            done = subprocess.run(
                ["snakemake", *command], cwd=self.folder, env=self.environment, capture_output=True, text=True
            )
            code, output = done.returncode, done.stdout + done.stderr
        assert (code != 0) == fails, output
        return output

    def planned(self, *arguments: str, **changes) -> dict[str, int]:
        """Rule → number of jobs that a dry run lists."""
        return planned_jobs(self.snakemake("-n", *arguments, **changes))

    def planned_outputs(self, **changes) -> set[str]:
        """Output files of the jobs that a dry run lists."""
        lines = re.findall(r"^ +output: (.*)$", self.snakemake("-n", **changes), re.MULTILINE)
        return {path for line in lines for path in line.split(", ")}


def planned_jobs(output: str) -> dict[str, int]:
    """Rule → number of jobs in what a dry run prints."""
    table = re.search(r"^job +count\n-+ +-+\n(.*?)^total +\d+$", output, re.MULTILINE | re.DOTALL)
    rows = [line.split() for line in table.group(1).splitlines()] if table else []
    return {rule: int(count) for rule, count in rows if rule != "all"}


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Study:
    """A demo study that has run to its end."""
    study = Study(tmp_path_factory.mktemp("study"))
    study.snakemake("--quiet")
    return study
