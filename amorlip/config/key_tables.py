"""The key tables of config/README.md, generated from the types."""

from __future__ import annotations

import json
import types
import typing
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import annotated_types
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from amorlip.config.base import Affects, Section, mark, nested_sections
from amorlip.config.benchmark import Benchmark
from amorlip.config.corpus import Corpus
from amorlip.config.experiment import FIGURES, TABLES, Experiment
from amorlip.config.method import Method
from amorlip.config.objectives import OBJECTIVES, settings_type
from amorlip.config.scale import Scale
from amorlip.config.selection import Selection

FILES: dict[str, tuple[str, type[Section]]] = {
    "selection": ("The top-level file: config.yaml, paper.yaml, or your own", Selection),
    "corpus": ("corpora/*.yaml", Corpus),
    "scale": ("scales/*.yaml", Scale),
    "method": ("methods/*.yaml", Method),
    "benchmark": ("benchmarks/*.yaml", Benchmark),
    "experiment": ("experiments/*.yaml", Experiment),
}
"""Kind of file → its heading and its type."""


def key_tables() -> str:
    """Markdown: every key of every file with type, default and meaning. Sections used twice are printed once."""
    shared = _shared(section for _, section in FILES.values())
    parts = []
    for title, section in FILES.values():
        parts += [f"### {title}\n", *_table(section, shared)]
    parts.append("## Sections that several files use\n")
    for section in shared:
        parts += [f"### {_title(section)}\n", *_table(section, shared)]
    parts.append("## Settings of the objectives\n")
    bases = list(dict.fromkeys(base for name in OBJECTIVES if (base := _base(settings_type(name)))))
    for name in OBJECTIVES:
        section = settings_type(name)
        base = _base(section)
        parts += [f"### `{name}`\n", *_table(section, shared, base)]
        if base in bases:
            bases.remove(base)
            users = " and ".join(f"`{name}`" for name in OBJECTIVES if _base(settings_type(name)) is base)
            parts += [f"### {_title(base)}: keys of {users}\n", *_table(base, shared)]
    for kind, functions in (("tables", TABLES), ("figures", FIGURES)):
        parts.append(f"## Options of the {kind}\n")
        for name, section in functions.items():
            parts += [f"### `{name}`\n", *_table(section, shared)]
    return "\n".join(parts)


def _shared(sections: Iterable[type[Section]]) -> list[type[Section]]:
    """The nested sections that occur more than once, in the order of their first use."""
    uses: Counter[type[Section]] = Counter()

    def visit(section: type[Section]) -> None:
        for field in section.model_fields.values():
            for _, nested in nested_sections(field.annotation):
                uses[nested] += 1
                visit(nested)

    for section in sections:
        visit(section)
    return [section for section, count in uses.items() if count > 1]


def _base(section: type[Section]) -> type[Section] | None:
    """The parent type that an objective's settings share with another objective's, if it is not an objective itself."""
    base = section.__bases__[0]
    return None if base is Section or base in OBJECTIVES.values() else base


def _title(section: type[Section]) -> str:
    """`UrlList` → `Url list`: a heading, to which rows link."""
    name = section.__name__
    return name[0] + "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name[1:])


def _link(section: type[Section]) -> str:
    title = _title(section)
    return f"[{title.lower()}](#{title.lower().replace(' ', '-')})"


def _table(section: type[Section], shared: list[type[Section]], base: type[Section] | None = None) -> list[str]:
    rows = list(_rows(section, "", shared, None, base))
    parts = [f"{_line(section.__doc__)}\n"]
    if base:
        parts.append(f"All keys of {_title(base)}" + (", and these:\n" if rows else ", which follow.\n"))
    return [*parts, *(["| key | type | default | meaning |", "|---|---|---|---|", *rows, ""] if rows else [])]


def _rows(
    section: type[Section],
    prefix: str,
    shared: list[type[Section]],
    inherited: Affects | None = None,
    without: type[Section] | None = None,
) -> Iterator[str]:
    for key, field in section.model_fields.items():
        if without and key in without.model_fields:
            continue
        name, affects = f"{prefix}{key}", inherited or mark(section, key)
        meaning = _line(field.description) + (f" *Changes {affects.value}.*" if affects else "")
        kind = _type(field.annotation, field.metadata, shared)
        yield f"| `{name}` | {kind} | {_default(field)} | {meaning} |"
        for steps, nested in nested_sections(field.annotation):
            if nested not in shared:
                yield from _rows(nested, ".".join([name, *steps, ""]), shared, affects)


def _type(annotation: Any, notes: Iterable[Any], shared: list[type[Section]]) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return _link(annotation) if annotation in shared else "the keys below"
    if origin is typing.Annotated:
        return _type(arguments[0], [*arguments[1:], *notes], shared)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(argument, notes, shared) for argument in arguments)
    if origin is typing.Literal:
        return ", ".join(f"`{argument}`" for argument in arguments)
    if origin is list:
        items = _type(arguments[0], [], shared)
        return f"list of {items.replace('number', 'numbers')}"
    if origin is dict:
        return f"mapping: name → {_type(arguments[1], [], shared)}"
    words = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return words.get(annotation, "any value") + _bounds(notes)


def _bounds(notes: Iterable[Any]) -> str:
    """`Field(ge=0, lt=1)` → ` ≥ 0, < 1`."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found: dict[str, str] = {}
    for note in notes:
        for part in note.metadata if isinstance(note, FieldInfo) else [note]:
            if isinstance(part, annotated_types.Ge | annotated_types.Gt | annotated_types.Le | annotated_types.Lt):
                ((name, value),) = asdict(part).items()
                found[name] = f"{signs[name]} {value}"
    lower = found.get("gt", found.get("ge"))
    upper = found.get("lt", found.get("le"))
    bounds = ", ".join(bound for bound in (lower, upper) if bound)
    return f" {bounds}" if bounds else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined or isinstance(default, Section):
        return "the keys' defaults"
    return f"`{json.dumps(default)}`"


def _line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
