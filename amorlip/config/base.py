"""What the types of all configuration files share: names, numbers, marks, and sections that refuse unknown keys."""

from __future__ import annotations

import re
import typing
from enum import Enum
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from amorlip.common.errors import unknown_key


class Affects(Enum):
    """What a key changes, where that is not the results: a mark on the key's field, `Annotated[TYPE, Affects.…]`.

    Stages get `Section.deciding()`, which leaves marked keys out, so changing such a key does not run them again.
    """

    NOTHING = "no result"
    DISPLAY = "tables and figures only"


def _name(value: Any) -> Any:
    """Say what a name may hold, where pydantic would print the pattern."""
    if isinstance(value, str) and not re.fullmatch(NAME, value):
        reason = ""
        if "-" in value:
            reason = " ('-' separates method, variant and seed in the names of runs)"
        raise ValueError(f"'{value}' may hold only letters, digits, '_' and '.', and not begin with '.'{reason}")
    return value


def _number(value: Any) -> Any:
    """YAML 1.1 reads `1e-3` as text; people mean the number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _whole_number(value: Any) -> Any:
    """Snakemake passes numbers inside a list or mapping of `--config` as text."""
    return int(value) if isinstance(value, str) and value.strip().lstrip("-").isdecimal() else value


Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
"""A commit of a repository; not a branch or a tag, which can move."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.]*$"
Name = Annotated[str, Field(pattern=NAME), BeforeValidator(_name)]
"""A name that becomes part of a path. No `-`: it separates the parts of a run's name."""


def _repository(value: Any) -> Any:
    """A hub's own rule for names, which its client checks when it downloads."""
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*", value):
        raise ValueError(f"'{value}' is not a name of the form owner/name")
    return value


Repository = Annotated[str, BeforeValidator(_repository)]
"""The name of a dataset repository on a hub."""

Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""A name that becomes a file's name: like `Name`, but with `-` allowed."""

PackageName = Annotated[str, Field(pattern=r"^(@[a-z0-9_][a-z0-9_.-]*/)?[a-z0-9_][a-z0-9_.-]*$")]
"""Name of an npm package, with its scope. npm takes a name that begins with `-` for an option."""

IconSet = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
"""Name of an icon set. It becomes part of a path."""

PackageVersion = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$")]
"""Exact version of an npm package. npm also takes files and addresses for versions."""

Float = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[Float, Field(gt=0)]
NonNegative = Annotated[Float, Field(ge=0)]
Fraction = Annotated[Float, Field(ge=0, le=1)]
Integer = Annotated[int, BeforeValidator(_whole_number)]
Count = Annotated[Integer, Field(ge=1)]
Natural = Annotated[Integer, Field(ge=0)]
Seed = Annotated[Integer, Field(ge=0, lt=2**31)]


def refused(message: str, *keys: str | tuple[Any, ...]) -> PydanticCustomError:
    """The error of a validator that looks at more than one value.

    `keys` are those to change, as seen from the checked section (a nested one as a tuple); the error is reported where
    the last one of them was written.
    """
    paths = [key if isinstance(key, tuple) else (key,) for key in keys] or [()]
    # pydantic fills in {…} of a template; the message is a value, since it may hold braces
    return PydanticCustomError("amorlip", "{message}", {"message": message, "keys": paths})


class Section(BaseModel):
    """A group of keys. Unknown keys are refused by name, with the nearest known one."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, protected_namespaces=()
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise refused(f"{unknown_key(key, cls.model_fields)} (its value: {data[key]!r})", (key,))
        return data

    def deciding(self, *unneeded: str) -> dict[str, Any]:
        """The keys that decide results: all but those marked with `Affects`, and `unneeded` ones of this section."""
        return self.model_dump(exclude={**marked(type(self)), **dict.fromkeys(unneeded, True)})


def mark(section: type[Section], key: str) -> Affects | None:
    """The mark on the field of a key."""
    return next((note for note in section.model_fields[key].metadata if isinstance(note, Affects)), None)


@cache  # a study asks for each of its jobs
def marked(section: type[Section]) -> dict[str, Any]:
    """The marked keys of a section and of the sections below it, in the form that pydantic's `exclude` takes."""
    keys: dict[str, Any] = {}
    for key, field in section.model_fields.items():
        if mark(section, key):
            keys[key] = True
            continue
        for steps, nested in nested_sections(field.annotation):
            if below := marked(nested):
                for _ in steps:
                    below = {"__all__": below}
                keys[key] = below
    return keys


def nested_sections(annotation: Any) -> list[tuple[tuple[str, ...], type[Section]]]:
    """The sections below a key, each with what is between the key and them: `*` for a mapping, `[]` for a list."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [((), annotation)]
    origin = typing.get_origin(annotation)
    step = ("*",) if origin is dict else ("[]",) if origin is list else ()
    return [
        (step + deeper, section)
        for argument in typing.get_args(annotation)
        for deeper, section in nested_sections(argument)
    ]
