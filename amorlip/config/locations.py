"""Where each key of a configuration was written: mappings that remember their file, and the line of every key.

Files, command line and overrides are laid over each other (see study.py). An error in the result is reported at the
place of the value that caused it, which only the layer that wrote it knows.
"""

from __future__ import annotations

import io
import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from amorlip.common.errors import AmorlipError, one_line
from amorlip.common.limits import MOST_YAML_BYTES, read_file

KeyPath = tuple[Any, ...]
"""Keys of nested mappings and indices of lists, from the outside in."""

MERGE_TAG = "tag:yaml.org,2002:merge"
MOST_DEPTH = 100
"""Of nested lists and mappings in a file."""
MOST_NODES = 100_000
"""Keys and values of a file once its aliases (`*name`) are written out: ten lines of aliases can stand for billions."""


class _Loader(yaml.SafeLoader):
    """A YAML loader that refuses duplicate keys, where plain YAML silently keeps the last, and what has no end."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.depth = 0
        self.sizes: dict[int, int] = {}
        """Node → keys and values below it; those of nodes that are not complete are missing."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As PyYAML's, within the two bounds."""
        mark = self.peek_event().start_mark
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise ComposerError(None, None, f"nested more than {MOST_DEPTH} levels deep", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is not None and id(node) not in self.sizes:
            self.sizes[id(node)] = 1 + sum(self.sizes.get(id(child), 1) for child in _children(node))
            if self.sizes[id(node)] > MOST_NODES:
                raise ComposerError(None, None, f"more than {MOST_NODES} keys and values", mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As PyYAML's, but with an error of its own for text that is no number or date."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise ConstructorError(None, None, one_line(error), node.start_mark) from error


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == MERGE_TAG:
            continue
        key = loader.construct_object(key_node)
        where = f"{key_node.start_mark.name}, line {key_node.start_mark.line + 1}"
        if not isinstance(key, Hashable):
            raise AmorlipError(f"{where}: a key must be text or a number, not a {type(key).__name__}")
        if key in seen:
            raise AmorlipError(f"{where}: key '{key}' is given twice")
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


@dataclass(frozen=True)
class Layer:
    """A mapping, and where it was written."""

    data: Mapping[Any, Any]
    """The keys with their values."""
    where: str
    """The file's path, or another name of the source, such as `--config`."""
    node: yaml.Node | None = None
    """The YAML node of the whole file, which knows the lines; None for other sources."""
    prefix: KeyPath = field(default=())
    """Where `data` is in the file."""

    def part(self, *keys: Any) -> Layer:
        """The layer below `keys`; empty where this layer does not have them."""
        value: Any = self.data
        for key in keys:
            if not _has(value, key):
                value = {}
                break
            value = value[key]
        return Layer(value if isinstance(value, Mapping) else {}, self.where, self.node, (*self.prefix, *keys))

    def depth(self, path: KeyPath) -> tuple[int, bool]:
        """How many steps of `path` this layer has; and whether its value there, not a mapping, hides lower layers."""
        value: Any = self.data
        for steps, key in enumerate(path):
            if not _has(value, key):
                return steps, not isinstance(value, Mapping)
            value = value[key]
        return len(path), False

    def line(self, path: KeyPath) -> int | None:
        """The line of `path` in the file, counted from 1; None for other sources."""
        return None if self.node is None else _line(self.node, (*self.prefix, *path))

    def place(self, path: KeyPath) -> str:
        """File, line and full key of `path`, as an error begins: `config/scales/demo.yaml, line 12: recipe.epochs`."""
        full = (*self.prefix, *path)
        line = "" if self.node is None else f", line {self.line(path)}"
        return ": ".join(part for part in (f"{self.where}{line}", ".".join(str(key) for key in full)) if part)


def _has(value: Any, key: Any) -> bool:
    if isinstance(value, Mapping):
        return key in value
    return isinstance(value, list) and isinstance(key, int) and key < len(value)


def _line(node: yaml.Node, path: KeyPath) -> int:
    """The line of the last key of `path` that is in the file, counted from 1."""
    line = node.start_mark.line
    for key in path:
        found: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key_node, value_node in node.value:  # the last one counts: keys of `<<` come first
                if key_node.value == str(key):
                    found, line = value_node, key_node.start_mark.line
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            found, line = node.value[key], node.value[key].start_mark.line
        if found is None:
            break
        node = found
    return line + 1


def read_layer(path: Path) -> Layer:
    """The mapping in a YAML (or JSON) file. Raises AmorlipError if it cannot be read or is not a mapping."""
    name = shown_path(path)
    try:
        # A stream: of a text, PyYAML puts pieces into its messages.
        loader = _Loader(io.StringIO(read_file(path, MOST_YAML_BYTES).decode("utf-8")))
        loader.name = name
        node = loader.get_single_node()
        value = None if node is None else loader.construct_document(node)
    except OSError as error:
        raise AmorlipError(f"{name}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AmorlipError(f"{name}: not valid YAML: {one_line(error)}") from error
    if not isinstance(value, dict):
        raise AmorlipError(f"{name}: expected keys with values, got {type(value).__name__}")
    return Layer(value, name, node)


def shown_path(path: Path) -> str:
    """`path` as messages show it: relative where it is below the working directory."""
    relative = os.path.relpath(path)
    return os.path.normpath(path) if relative.startswith("..") else relative


def blamed(layers: Sequence[Layer], path: KeyPath, *, missing: bool = False) -> tuple[int, Layer, KeyPath]:
    """The layer that wrote the value at `path`: its index in `layers`, of which later ones win, itself, and the path.

    The path is shortened to what was written. With `missing`, the last key was not written anywhere: the lowest layer
    that has the keys above it should have it.
    """
    indexed = list(enumerate(layers)) if missing else list(enumerate(layers))[::-1]
    for length in range(len(path), 0, -1):
        for index, layer in indexed:
            steps, hides = layer.depth(path[:length])
            if steps == length or (hides and steps):
                return index, layer, path[:steps]
    return 0, layers[0], ()
