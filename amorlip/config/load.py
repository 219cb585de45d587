"""YAML files to typed sections, and errors that name the file, the line and the key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from amorlip.common.errors import AmorlipError
from amorlip.config.base import Section
from amorlip.config.locations import KeyPath, Layer, blamed, read_layer

S = TypeVar("S", bound=Section)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises AmorlipError if it cannot be read or is not a mapping."""
    return dict(read_layer(path).data)


def merge(base: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `layer` laid over it, nested mappings key by key, anything else replaced."""
    merged = dict(base)
    for key, value in layer.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """The layers laid over each other, later ones winning."""
    return reduce(merge, (layer.data for layer in layers), {})


def validate(section: type[S], data: Mapping[str, Any], where: str) -> S:
    """`data` as a `section`. Raises AmorlipError with one line: `where`, key, what is wrong, value."""
    return validate_layers(section, [Layer(data, where)])


def validate_layers(section: type[S], layers: Sequence[Layer]) -> S:
    """The layers laid over each other as a `section`.

    Only the result is checked, so one layer may correct another. Raises AmorlipError with one line: the file and line
    where the value was written, its key, what is wrong, the value.
    """
    try:
        return section.model_validate(merged(layers))
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        path: KeyPath = tuple(part for part in first["loc"] if part != "[key]")
        kind, message, context = first["type"], first["msg"].removeprefix("Value error, "), first.get("ctx", {})
        if kind == "missing":
            message = "this key is required"
        elif kind not in ("value_error", "amorlip"):
            message = f"{message[0].lower()}{message[1:]}, got {first['input']!r}"
        place = _place(layers, path, context.get("keys", [()]), missing=kind == "missing")
        more = f" (and {len(others)} more)" if others else ""
        raise AmorlipError(f"{place}: {message}{more}") from error


@contextmanager
def blaming(layers: Sequence[Layer], *path: Any) -> Iterator[None]:
    """Report a check's `base.refused` at the place where `layers` wrote its keys, which are below `path`."""
    try:
        yield
    except PydanticCustomError as error:
        context = error.context or {}
        raise AmorlipError(f"{_place(layers, path, context['keys'])}: {context['message']}") from error


def _place(layers: Sequence[Layer], path: KeyPath, keys: Sequence[KeyPath], *, missing: bool = False) -> str:
    """Where the uppermost layer that has any of the `keys` below `path` wrote the first of them."""
    found = [blamed(layers, (*path, *key), missing=missing) for key in keys]
    written = [entry for entry, key in zip(found, keys, strict=True) if len(entry[2]) == len(path) + len(key)]
    _, layer, known = max(written or found[:1], key=lambda entry: entry[0])
    if missing or not written:  # the key itself is not in a file, but should be named
        known = (*path, *keys[0])
    return layer.place(known)
