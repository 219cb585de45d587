"""The stage `tasks`: the files of one evaluation task, with a record of what they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from amorlip.config.benchmark import TaskContent, TaskSource
from amorlip.config.load import validate
from amorlip.tasks.provide import provide


def run(
    settings: Mapping[str, Any], artwork: Path | None, output: Path, allow_missing: bool, validation: Path | None = None
) -> None:
    """Build, download or link the files of one evaluation task, and check them.

    `settings` are the keys of a task's `source`, and optionally `content`: the keys of `TaskContent`.
    """
    keys = dict(settings)
    expected = keys.pop("content", None)
    source = validate(TaskSource, keys, "settings")
    content = None if expected is None else validate(TaskContent, expected, "settings: content")
    provide(source, output, content=content, build=_builder(source, artwork, validation), allow_missing=allow_missing)


def _builder(source: TaskSource, artwork: Path | None, validation: Path | None) -> Callable[[Path], None] | None:
    """What writes a task that is made from a corpus; None for other sources."""
    if source.kind == "emoji" and artwork is not None:
        from amorlip.emoji import task_sets

        return partial(task_sets.build_task, str(source.builder), artwork)
    if source.kind == "icons" and artwork is not None:
        from amorlip.icons import task_sets as icon_sets

        return partial(icon_sets.build_task, str(source.builder), artwork)
    if source.kind == "validation" and validation is not None:
        from amorlip.loader import held_out

        return partial(held_out.build_task, validation)
    return None
