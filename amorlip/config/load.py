"""YAML files to typed sections, and errors that name the file and the key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from amorlip.common.errors import AmorlipError, one_line
from amorlip.config.base import Section

S = TypeVar("S", bound=Section)


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, of which plain YAML silently keeps the last."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            raise AmorlipError(f"{key_node.start_mark.name}, line {key_node.start_mark.line + 1}: key '{key}' twice")
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises AmorlipError if it cannot be read or is no mapping."""
    try:
        with path.open(encoding="utf-8") as file:
            value = yaml.load(file, _Loader)
    except OSError as error:
        raise AmorlipError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AmorlipError(f"{path}: not valid YAML: {one_line(error)}") from error
    if not isinstance(value, dict):
        raise AmorlipError(f"{path}: expected keys with values, got {type(value).__name__}")
    return value


def merge(base: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `layer` laid over it, nested mappings key by key, anything else replaced."""
    merged = dict(base)
    for key, value in layer.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def validate(section: type[S], data: Mapping[str, Any], where: str) -> S:
    """`data` as a `section`. Raises AmorlipError with one line: file, key, what is wrong, value."""
    try:
        return section.model_validate(data)
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] != "value_error" and first["type"] != "missing":
            message = f"{message[0].lower()}{message[1:]}, got {first['input']!r}"
        more = f" (and {len(others)} more)" if others else ""
        raise AmorlipError(": ".join(part for part in (where, key, message) if part) + more) from error
