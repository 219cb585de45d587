"""The stage `tasks`: the files of one evaluation task, with a record of what they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from amorlip.config.benchmark import TaskSource
from amorlip.config.load import validate
from amorlip.tasks.provide import provide


def run(settings: Mapping[str, Any], artwork: Path | None, output: Path, allow_missing: bool) -> None:
    """Build, download or link the files of one evaluation task."""
    source = validate(TaskSource, settings, "settings")
    provide(source, output, build=_builder(source, artwork), allow_missing=allow_missing)


def _builder(source: TaskSource, artwork: Path | None) -> Callable[[Path], None] | None:
    """What writes a task of the demo's; None for other sources."""
    if source.kind != "emoji" or artwork is None:
        return None
    from amorlip.emoji import task_sets

    return partial(task_sets.build_task, str(source.builder), artwork)
