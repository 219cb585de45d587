"""Why a dry run would run a job again: the keys that differ between the settings of its last run and its new ones.

Snakemake's reason for such a job names both settings files, and a file's name tells nothing of its keys.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_RULE = re.compile(r"^(?:local)?(?:rule|checkpoint) (\S+):$")
_PARAMS = re.compile(r"reason: .*Params have changed since last execution: .*?before: (.*) now: (.*?) *(?:; |$)")
_SETTINGS = re.compile(r"'([^']*/([a-z_]+)-[0-9a-f]{12}\.json)'")


def explain(dry_run: Iterable[str], folder: Path = Path()) -> list[str]:
    """One line per rule and changed key, with the number of jobs.

    Args:
        dry_run: the lines that `snakemake -n` prints.
        folder: the working directory of that call.
    """
    rule, found = "", Counter[str]()
    for line in dry_run:
        if match := _RULE.match(line.rstrip()):
            rule = match.group(1)
        elif match := _PARAMS.search(line.rstrip()):
            found.update(f"{rule}: {change}" for change in _changes(folder, *match.groups()))
    return [f"{change} ({count} {'job' if count == 1 else 'jobs'})" for change, count in found.items()]


def _changes(folder: Path, before: str, now: str) -> list[str]:
    """What differs, as text: keys of settings, and other parameters as they are."""
    found: list[str] = []
    for new, stage in _SETTINGS.findall(now):
        compared = [_compared(folder, old, new) for old, kind in _SETTINGS.findall(before) if kind == stage]
        # Outputs of one job may come from several runs of it; the last run's settings differ least from the new ones.
        found += min(compared, key=len, default=[])
    return found or [f"parameters: {before} → {now}"]


def _compared(folder: Path, before: str, now: str) -> list[str]:
    try:
        old, new = (_flat(json.loads((folder / path).read_text(encoding="utf-8"))) for path in (before, now))
    except FileNotFoundError as error:
        return [f"{error.filename} was deleted, so the keys cannot be compared"]
    keys = [key for key in {**old, **new} if old.get(key, ...) != new.get(key, ...)]
    return [f"{key}: {_shown(old, key)} → {_shown(new, key)}" for key in keys]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by `.`, and positions in lists in brackets, each with its value."""
    return dict(_leaves(value, prefix)) if value else {prefix: value}


def _leaves(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else key).items()
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _flat(inner, f"{prefix}[{position}]").items()
    else:
        yield prefix, value


def _shown(values: dict[str, Any], key: str, length: int = 60) -> str:
    if key not in values:
        return "missing"
    text = json.dumps(values[key], ensure_ascii=False)
    return text if len(text) <= length else f"{text[:length]}…"
