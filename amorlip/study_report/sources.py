"""Where each number of a run was written, and what the comment in that line says of its source."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from amorlip.config.locations import KeyPath, Layer, blamed
from amorlip.config.resolved import Resolved
from amorlip.config.run import Run

_COMMENT = re.compile(r"""^(?:[^#'"]|(?<=\w)['"]|'[^']*'|"[^"]*"|(?<=\S)#)*?(?:^|\s)#\s*(?P<text>.+)$""")
CONTINUED = 8
"""Columns that the second line of a comment is further right than its key; others belong to the next key."""
UNPUBLISHED = ("ours", "unverified")
"""How a comment begins where no paper, release or library prints the number; see config/scales/."""


@dataclass(frozen=True)
class Setting:
    """One key of a run."""

    key: str
    value: str
    place: str
    """File and line; empty for a default of this package."""
    comment: str
    """The comment in the line of the number."""

    @property
    def is_unpublished(self) -> bool:
        """Whether its comment says that no source prints it."""
        return self.comment.lower().startswith(UNPUBLISHED)


def settings(run: Run, resolved: Resolved) -> dict[str, list[Setting]]:
    """`settings` and `recipe` → every key of the run in that section, in its order."""
    sections = {"settings": run.settings, "recipe": run.recipe.model_dump(mode="json")}
    return {
        section: [_setting(section, path, value, resolved.layers) for path, value in _leaves(values)]
        for section, values in sections.items()
    }


def headers(resolved: Resolved) -> list[tuple[str, str]]:
    """(file, the comment at its top) of each file that the run's keys are from: what it says of all its numbers."""
    paths = dict.fromkeys(layer.where for layer in resolved.layers if Path(layer.where).is_file())
    return [(_short(path), text) for path in paths if (text := _header(path))]


def _header(path: str) -> str:
    words = []
    for line in _lines(path):
        if not line.startswith("#"):
            break
        if "yaml-language-server" not in line:
            words.append(line.lstrip("# "))
    return " ".join(words)


def _leaves(values: Mapping[str, Any], above: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _setting(section: str, path: KeyPath, value: Any, layers: list[Layer]) -> Setting:
    key, shown = ".".join(map(str, path)), _text(value)
    layers = [layer for layer in layers if section in layer.data]
    _, layer, known = blamed(layers, (section, *path)) if layers else (0, None, ())
    if layer is None or len(known) < len(path) + 1:
        return Setting(key, shown, "", "")
    line = layer.line(known)
    if line is None or not Path(layer.where).is_file():  # such as --config
        return Setting(key, shown, layer.where, "")
    return Setting(key, shown, f"{_short(layer.where)}, line {line}", _comment(layer.where, line))


def _short(where: str) -> str:
    """A file of config/ by its path there, wherever that is."""
    parts = Path(where).parts
    return "/".join(parts[parts.index("config") :]) if "config" in parts else where


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@cache
def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()


def _comment(path: str, line: int) -> str:
    """The comment at the end of a line, with the lines of nothing but a comment that continue it further right."""
    lines = _lines(path)
    if line > len(lines) or not (match := _COMMENT.match(lines[line - 1])):
        return ""
    words, indent = [match["text"].strip()], _indent(lines[line - 1])
    for following in lines[line:]:
        if not following.strip().startswith("#") or _indent(following) < indent + CONTINUED:
            break
        words.append(following.strip().lstrip("# "))
    return " ".join(words)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
