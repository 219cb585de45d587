"""What an evaluator returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Result:
    """Scores of one model on one set."""

    metrics: dict[str, float]
    samples: int
    """Images; association: rounds."""
    images: int
    """Images whose features were used, each counted once."""
    interval95: list[float] | None
    """Bootstrap interval of the task's main metric; None for metrics without one (see `bootstrap`)."""
    rows: pd.DataFrame
    """One row per sample (retrieval: per query), with the prediction and whether it is correct."""
    classes: int | None = None
    groups: dict[str, dict[str, Any]] | None = None
    """Value of the grouping column → acc1, acc5 (from five classes on) and count."""
    per_class: dict[str, list[int]] | None = None
    """count and correct, in the order of the class names."""
