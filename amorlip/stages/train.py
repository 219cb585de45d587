"""The stage `train`: one run, on one or several ranks."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amorlip.config.benchmark import TaskDefinition
from amorlip.config.load import validate
from amorlip.config.run import Run
from amorlip.tasks.record import RECORD, missing


def run(
    settings: Mapping[str, Any],
    shards: Path,
    output: Path,
    task_folder: Sequence[str],
    workers: int,
    checkpoint_every_steps: int,
) -> None:
    """Train one model. Several ranks are started as torchrun starts them, which can also be done by hand."""
    from amorlip.training import launch

    run = validate(Run, settings["run"], "settings")
    if run.recipe.ranks > 1 and not launch.is_rank():
        sys.exit(launch.launch(run.recipe.ranks, [sys.executable, "-m", "amorlip", *sys.argv[1:]]))
    from amorlip.training import loop

    loader = run.recipe.loader.model_copy(update={"workers": workers})
    recipe = run.recipe.model_copy(update={"loader": loader, "checkpoint_every_steps": checkpoint_every_steps})
    folders = {name: Path(folder) for name, folder in (pair.split("=", 1) for pair in task_folder)}
    tasks = {name: _task(name, keys, folders[name]) for name, keys in settings["tasks"].items()}
    loop.train(run.model_copy(update={"recipe": recipe}), shards, output, tasks)


def _task(name: str, keys: Mapping[str, Any], folder: Path) -> tuple[TaskDefinition, Path] | None:
    """A task and its folder; None, with a line, where its files are missing."""
    reason = missing(folder) if (folder / RECORD).is_file() else None
    if reason:
        print(f"{name} is not evaluated: {reason}", file=sys.stderr)
        return None
    return validate(TaskDefinition, keys, f"settings: tasks.{name}"), folder
