"""The files that a top-level configuration names, such as scales/demo.yaml, with the `overrides` of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from amorlip.common.errors import unknown_key
from amorlip.config.base import Section, refused
from amorlip.config.load import blaming, validate_layers
from amorlip.config.locations import KeyPath, Layer, read_layer

S = TypeVar("S", bound=Section)

KINDS = ("corpora", "scales", "methods", "benchmarks", "experiments")
"""Folders of the named files, which are also the keys of `overrides`."""


@dataclass(frozen=True)
class NamedFiles:
    """Named files of one configuration, each read once."""

    folder: Path
    """The folder with scales/, methods/, corpora/, benchmarks/, experiments/ and paper/."""
    top_level: Sequence[Layer]
    """The layers of the top-level configuration."""
    _known: dict[tuple[str, str], list[Layer]] = field(default_factory=dict)

    def layers(self, kind: str, name: str) -> list[Layer]:
        """The layers of a named file: itself, and its part of the `overrides`."""
        if (kind, name) not in self._known:
            overrides = (layer.part("overrides", kind, name) for layer in self.top_level)
            file = read_layer(self.folder / kind / f"{name}.yaml")
            self._known[kind, name] = [file, *(layer for layer in overrides if layer.data)]
        return self._known[kind, name]

    def read(self, kind: str, name: str, section: type[S], named_by: Sequence[Layer], *key: str | int) -> S:
        """A named file with its overrides, as a `section`.

        Raises AmorlipError if it is not valid; and if there is no such file, at the place where `key` of `named_by` was
        written.
        """
        with blaming(named_by):
            self._require(kind, name, key)
        return validate_layers(section, self.layers(kind, name))

    def read_all(self, kind: str, names: Iterable[str], section: type[S]) -> dict[str, S]:
        """Name → file, of those that the key `kind` of the top-level configuration lists."""
        return {name: self.read(kind, name, section, self.top_level, kind) for name in names}

    def _require(self, kind: str, name: str, key: KeyPath) -> None:
        known = [path.stem for path in (self.folder / kind).glob("*.yaml")]
        if name not in known:
            raise refused(unknown_key(name, known, f"file in {kind}/"), key)
