"""Keys of `config/methods/*.yaml`: ways of training CLIP."""

from __future__ import annotations

from typing import Annotated, Any

from amorlip.config.base import Affects, Name, Section


class MethodLayer(Section):
    """Changes to a method at one scale, or in one variant of an experiment."""

    settings: dict[str, Any] = {}
    """Keys of the method's own settings."""
    recipe: dict[str, Any] = {}
    """Keys of the recipe, nested as there."""


class Method(MethodLayer):
    """A way of training CLIP: an objective with its settings."""

    title: Annotated[str, Affects.DISPLAY]
    """Name in tables and figures."""
    objective: Name
    """Entry of `amorlip.objectives.registry`."""
