"""One training run, resolved from all the files that decide it."""

from __future__ import annotations

from typing import Any

from amorlip.config.base import Name, Section, Seed
from amorlip.config.recipe import Recipe


class Run(Section):
    """One training run, resolved: what `amorlip train` gets, and writes beside its results."""

    scale: Name
    """The scale's name."""
    method: Name
    """The method's name."""
    variant: Name | None = None
    """Which variant of the method, in an ablation."""
    seed: Seed
    """Seed of the weights, the data order and the augmentation."""
    objective: Name
    """Entry of the registry of objectives."""
    settings: dict[str, Any]
    """The objective's settings, complete."""
    recipe: Recipe
    """The recipe, complete."""

    @property
    def name(self) -> str:
        """The run's folder: method, variant where there is one, and seed."""
        return "-".join(part for part in (self.method, self.variant, f"seed{self.seed}") if part)
