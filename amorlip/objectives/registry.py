"""Creates an objective by name: the class `Objective` of the module with that name.

The list of objectives is `OBJECTIVES` in `amorlip/config/objectives.py`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from amorlip.config.load import validate
from amorlip.config.objectives import settings_type

if TYPE_CHECKING:
    from amorlip.objectives.base import Context, Objective


def create(name: str, values: dict[str, Any], context: Context) -> Objective:
    """The objective `name` with the settings `values`, on `context.device`; raises AmorlipError for invalid ones."""
    settings = validate(settings_type(name), values, f"settings of '{name}'")
    # imported by name: a run loads the mathematics of its own method only
    return importlib.import_module(f"amorlip.objectives.{name}").Objective(settings, context).to(context.device)
