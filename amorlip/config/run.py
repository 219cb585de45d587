"""One training run, resolved from all the files that decide it, and the file that records it next to its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from amorlip.common import files
from amorlip.config.base import Name, Section, Seed
from amorlip.config.load import read_yaml, validate
from amorlip.config.recipe import Recipe


class Run(Section):
    """One training run, resolved: what `amorlip train` gets, and writes next to its results."""

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


RUN_FILE = "run.yaml"


def write_run(run: Run, folder: Path) -> None:
    """Write `run` as run.yaml in `folder`."""
    settings = run.model_dump(mode="json")
    files.write_text(folder / RUN_FILE, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))


def read_run(folder: Path) -> Run:
    """The run of run.yaml in `folder`. Raises AmorlipError if it cannot be read or is not valid."""
    return validate(Run, read_yaml(folder / RUN_FILE), str(folder / RUN_FILE))
