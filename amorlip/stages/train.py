"""The stage `train`: one run, on one or several ranks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amorlip.common.errors import AmorlipError
from amorlip.config.benchmark import TaskDefinition
from amorlip.config.load import validate
from amorlip.config.run import Run
from amorlip.tasks.record import RECORD
from amorlip.tasks.verify import verified_record


def run(
    settings: Mapping[str, Any],
    shards: Path,
    output: Path,
    tasks: Path | None = None,
    workers: int | None = None,
    checkpoint_every_steps: int | None = None,
    from_start: bool = False,
) -> None:
    """Train one model. Several ranks are started as torchrun starts them, which can also be done by hand.

    Args:
        settings: the run, and under `tasks` the definitions of those that are evaluated after each epoch.
        shards: the folder of the corpus's manifest and index.
        output: the run's folder.
        tasks: the folder with a folder for each task.
        workers: data-loading processes; None: the recipe's.
        checkpoint_every_steps: steps between checkpoints; None: the recipe's.
        from_start: do not resume from the run's checkpoints, which are set aside.

    Raises:
        AmorlipError: if the settings are wrong, or do not fit the shards.
    """
    from amorlip.training import launch

    run = validate(Run, settings["run"], "settings")
    if run.recipe.ranks > 1 and not launch.is_rank():
        sys.exit(launch.launch(run.recipe.ranks, [sys.executable, "-m", "amorlip", *sys.argv[1:]]))
    from amorlip.training import loop

    defined = settings.get("tasks", {})
    if defined and tasks is None:
        raise AmorlipError(f"--tasks is missing: the folder with the folder of {next(iter(defined))}")
    folders = {name: _task(name, keys, tasks / name) for name, keys in defined.items()} if tasks else {}
    loop.train(_with_speed(run, workers, checkpoint_every_steps), shards, output, folders, from_start=from_start)


def _with_speed(run: Run, workers: int | None, checkpoint_every_steps: int | None) -> Run:
    """The run with the given keys, which change no result and so are not part of a run's settings."""
    loader, recipe = run.recipe.loader, run.recipe
    if workers is not None:
        recipe = recipe.model_copy(update={"loader": loader.model_copy(update={"workers": workers})})
    if checkpoint_every_steps is not None:
        recipe = recipe.model_copy(update={"checkpoint_every_steps": checkpoint_every_steps})
    return run.model_copy(update={"recipe": recipe})


def _task(name: str, keys: Mapping[str, Any], folder: Path) -> tuple[TaskDefinition, Path] | None:
    """A task and its folder; None, with a line on stderr, if its files are missing."""
    reason = verified_record(folder).missing if (folder / RECORD).is_file() else None
    if reason:
        print(f"{name} is not evaluated: {reason}", file=sys.stderr)
        return None
    return validate(TaskDefinition, keys, f"settings: tasks.{name}"), folder
