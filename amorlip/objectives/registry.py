"""The methods by name. Reading their settings must not cost an import of PyTorch: Snakemake does it in every job."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from amorlip.config import Section, unknown_key
from amorlip.errors import AmorlipError
from amorlip.objectives import settings

if TYPE_CHECKING:
    from amorlip.objectives.base import Context, Objective

OBJECTIVES: dict[str, tuple[type[Section], str]] = {
    "clip": (settings.Clip, "amorlip.objectives.clip"),
    "siglip": (settings.SigLip, "amorlip.objectives.siglip"),
    "sogclr": (settings.SogClr, "amorlip.objectives.sogclr"),
    "fastclip": (settings.FastClip, "amorlip.objectives.fastclip"),
    "neuclip": (settings.NeuClip, "amorlip.objectives.neuclip"),
    "amorlip_l2log": (settings.AmorlipL2Log, "amorlip.objectives.amorlip_l2log"),
    "amorlip_fdiv": (settings.AmorlipFDiv, "amorlip.objectives.amorlip_fdiv"),
}
"""Name → (keys of the method, module whose class `Objective` computes it)."""


def settings_type(name: str) -> type[Section]:
    """The keys that the method `name` has; raises AmorlipError for an unknown name."""
    return _entry(name)[0]


def create(name: str, values: dict[str, Any], context: Context) -> Objective:
    """The objective `name` with the settings `values`, on `context.device`; raises AmorlipError for bad ones."""
    keys, module = _entry(name)
    try:
        chosen = keys(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AmorlipError(f"settings of '{name}'{': ' + where if where else ''}: {first['msg']}") from error
    return importlib.import_module(module).Objective(chosen, context).to(context.device)


def _entry(name: str) -> tuple[type[Section], str]:
    if name not in OBJECTIVES:
        raise AmorlipError(unknown_key(name, OBJECTIVES, "objective"))
    return OBJECTIVES[name]
