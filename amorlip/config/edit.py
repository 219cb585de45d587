"""Setting keys in a YAML file that people wrote: comments, order and layout stay as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from amorlip.common.errors import AmorlipError
from amorlip.common.files import write_text
from amorlip.config.load import merge
from amorlip.config.locations import KeyPath, read_layer


def set_keys(path: Path, changes: Mapping[KeyPath, Mapping[str, str]]) -> None:
    """In the YAML file `path`, set texts: of the mapping at each key path of `changes`, which is there, these keys.

    Raises AmorlipError, and leaves the file as it is, if it cannot be edited in this way.
    """
    before = read_layer(path).data
    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text, yaml.SafeLoader)
    edits: list[tuple[int, int, str]] = []
    expected: Mapping[str, Any] = before
    for place, values in changes.items():
        node = _mapping(root, place, values, path)
        edits += [_edit(text, node, key, json.dumps(value)) for key, value in values.items()]  # quoted: digits are text
        nested: Mapping[str, Any] = values
        for key in reversed(place):
            nested = {key: nested}
        expected = merge(expected, nested)
    for start, end, new in reversed(sorted(edits, key=lambda edit: edit[0])):
        text = text[:start] + new + text[end:]
    if yaml.safe_load(text) != expected:
        raise AmorlipError(f"{path}: its layout is not known (aliases?); write the keys by hand: {dict(changes)}")
    write_text(path, text)


def _mapping(root: yaml.Node | None, place: KeyPath, values: Mapping[str, str], path: Path) -> yaml.MappingNode:
    node = root
    for step in place:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((child for name, child in pairs if name.value == str(step)), None)
    if not isinstance(node, yaml.MappingNode) or not node.value:
        where = ".".join(str(step) for step in place)
        raise AmorlipError(f"{path} has no keys at {where}, so they are written in overrides; add {dict(values)} there")
    return node


def _edit(text: str, node: yaml.MappingNode, key: str, value: str) -> tuple[int, int, str]:
    """What sets `key` of a mapping in `text`: start and end of what is replaced, and the new text."""
    for name, child in node.value:
        if name.value == key:
            return child.start_mark.index, child.end_mark.index, value
    if node.flow_style:
        end = node.value[-1][1].end_mark.index
        return end, end, f", {key}: {value}"
    # Above the first key: what follows a value may be a comment, a list or a block of text.
    name = node.value[0][0]
    line = name.start_mark.index - name.start_mark.column
    return line, line, f"{' ' * name.start_mark.column}{key}: {value}\n"
