"""The whole chain in miniature, each stage by the real command `amorlip` with the settings that its rule would give."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amorlip import cli
from tests.helpers.miniatures import any_corpus, build_mini_artwork, mini_source, write_split

COMMAND = [str(Path(sys.executable).with_name("amorlip"))]
PAIRS = 64
TASK = {"kind": "classification", "main_metric": "acc1"}
PATIENCE_S = 120


def environment(**changes: str) -> dict[str, str]:
    """This process's environment with one thread a process and `changes`."""
    return {**os.environ, "OMP_NUM_THREADS": "1", **changes}


def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """`amorlip` with `arguments`; its output is captured."""
    options = {"capture_output": True, "text": True, "timeout": PATIENCE_S, "env": environment(), **options}
    return subprocess.run([*COMMAND, *arguments], **options)


def call(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """`amorlip` with `arguments` in this process, which has loaded the libraries: the quicker `run`."""
    code, said = 0, io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            cli.main(arguments)
        except SystemExit as left:
            code = left.code
    return subprocess.CompletedProcess(arguments, code, "", said.getvalue())


def finish(arguments: list[str], start: Callable[..., subprocess.CompletedProcess[str]] = call) -> None:
    """`call` or `run`, which must go well."""
    done = start(arguments)
    assert done.returncode == 0, done.stderr[-3000:]


def told_in_one_line(done: subprocess.CompletedProcess[str], stage: str) -> str:
    """What a stage that failed told: one line, behind whatever its log says with times in front."""
    lines = [line for line in done.stderr.splitlines() if not line[:2].isdigit()]
    assert done.returncode == 1, done.stderr[-3000:]
    assert len(lines) == 1 and lines[0].startswith(f"amorlip {stage}: "), done.stderr[-3000:]
    return lines[0]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Chain:
    """Folders and command lines of a miniature study: 60 emoji names in four styles, 64 pairs of noise to train on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.artwork, self.shards, self.task = folder / "artwork", folder / "train", folder / "tasks" / "openmoji"
        self.run, self.evaluation = folder / "run", folder / "evaluations" / "openmoji.json"

    def build(self) -> Chain:
        """The inputs of all stages, made in this process."""
        build_mini_artwork(self.artwork)
        write_split(self.shards, [list(range(PAIRS // 2)), list(range(PAIRS // 2, PAIRS))])
        return self

    def copy(self, folder: Path) -> Chain:
        """The same files elsewhere."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Chain(folder)

    def settings(self, name: str, value: dict[str, Any]) -> str:
        """A settings file, as the rules write it."""
        path = self.folder / "settings" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value))
        return str(path)

    # -- the stages' arguments

    def artwork_stage(self, output: Path) -> list[str]:
        """Render the packages that lie in `output`/packages."""
        return ["artwork", "--settings", self.settings("artwork", mini_source().model_dump()), "--output", str(output)]

    def urls_stage(self, output: Path, **urls: Any) -> list[str]:
        """List the emoji pictures, or fetch the lists `urls`."""
        corpus = any_corpus(**({"urls": urls} if urls else {"source": "emoji", "emoji": mini_source()}))
        settings = self.settings("urls", corpus.model_dump(exclude={"title"}))
        return ["urls", "--settings", settings, "--artwork", str(self.artwork), "--output", str(output)]

    def download_stage(self, urls: Path, output: Path, *, timeout_s: int = 5, retries: int = 0) -> list[str]:
        """Download the training split of `urls`."""
        image = {"image_size": 16, "encode_format": "png", "encode_quality": 6}
        corpus = any_corpus(image=image, samples_per_shard=32).model_dump(exclude={"title", "download"})
        speed = ["--threads", "4", "--timeout-s", str(timeout_s), "--retries", str(retries)]
        paths = ["--split", "train", "--urls", str(urls), "--output", str(output)]
        return ["download", "--settings", self.settings("download", corpus), *paths, *speed]

    def shards_stage(self, folder: Path) -> list[str]:
        """Check the shards in `folder`."""
        settings = self.settings("shards", any_corpus().model_dump(exclude={"title"}))
        return ["shards", "--settings", settings, "--corpus", "mini", "--split", "train", "--folder", str(folder)]

    def tasks_stage(self, output: Path) -> list[str]:
        """Build the task `openmoji`."""
        source = {"kind": "emoji", "corpus": "demo", "builder": "openmoji"}
        paths = ["--artwork", str(self.artwork), "--output", str(output)]
        return ["tasks", "--settings", self.settings("tasks", source), *paths]

    def train_stage(self, output: Path, *, method: str = "amorlip_l2log", every: int = 2, **recipe: Any) -> list[str]:
        """Two epochs of eight steps of eight pairs."""
        keys = {
            "corpus": "mini", "model": "demo", "batch_size": 8, "epochs": 2, "optimizer": {"lr": 1e-3},
            "log_every_steps": 2, **recipe,
        }  # fmt: skip
        run = {"scale": "mini", "method": method, "seed": 0, "objective": method, "settings": {}, "recipe": keys}
        tasks = {name: TASK for name in keys.get("epoch_tasks", [])}
        settings = self.settings(f"train-{method}", {"run": run, "tasks": tasks})
        paths = ["--shards", str(self.shards), "--output", str(output)]
        paths += ["--tasks", str(self.task.parent)]
        return ["train", "--settings", settings, *paths, "--checkpoint-every-steps", str(every)]

    def evaluate_stage(self, output: Path) -> list[str]:
        """The trained run on the task."""
        settings = {"task": TASK, "evaluation": {"precision": "float32", "batch_size": 16}}
        paths = ["--run", str(self.run), "--folder", str(self.task), "--output", str(output)]
        paths += ["--predictions", str(output.with_suffix(".parquet"))]
        return ["evaluate", "--settings", self.settings("evaluate", settings), "--key", "openmoji", *paths]

    def shown_stage(self, kind: str, folder: Path) -> list[str]:
        """`table` or `figure` of the run."""
        function = {"table": "comparison", "figure": "training_curves"}[kind]
        outputs = [
            folder / f"x.{ending}" for ending in {"table": ("csv", "md", "tex", "html"), "figure": ("png", "pdf")}[kind]
        ]
        task = {"title": "OpenMoji", **TASK, "source": {"kind": "folder", "path": "x"}}
        group = {"title": "All", "columns": ["openmoji"]}
        run = {"scale": "mini", "method": "amorlip_l2log", "variant": None, "seed": 0}
        shown = {
            "experiment": {"kind": kind, "function": function, "title": "t", "caption": "c"},
            "benchmark": {"title": "b", "tasks": {"openmoji": task}, "columns": [group]},
            "runs": [{**run, "title": "AmorLIP", "scale_title": "Miniature"}],
            "evaluations": [str(self.evaluation)],
            "metrics": [str(self.run / "metrics.jsonl")],
            **({"manifests": [str(self.shards / "manifest.json")]} if kind == "table" else {}),
        }
        return [kind, "--settings", self.settings(kind, shown), "--name", "x", "--outputs", *map(str, outputs)]
