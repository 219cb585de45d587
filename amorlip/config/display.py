"""What the stages `table` and `figure` get: one record, written by the rules and read by the stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from amorlip.config.base import Name, Section
from amorlip.config.benchmark import Benchmark
from amorlip.config.experiment import Experiment
from amorlip.config.selection import EXTERNAL, FigureStyle

FilePath = Annotated[Path, Field(strict=False)]
"""A path; in JSON it is text."""


EXTERNAL_TITLE = "Other weights"
"""Takes the place of a scale's title, for published weights and the user's own files alike."""


class RunLabel(Section):
    """A run that a table or figure shows, with the names that readers see."""

    scale: str
    """The run's scale; `EXTERNAL` for weights that this study did not train."""
    method: str
    """The run's method; for other weights, their name in `external_models`."""
    variant: str | None = None
    """The run's variant, in an ablation."""
    seed: int
    """The run's seed."""
    title: str
    """Name of the method, or of the variant in an ablation."""
    scale_title: str
    """Name of the scale."""

    @property
    def row(self) -> tuple[str, str, str]:
        """Scale, method, variant (or ""): what identifies a row of a table or a line of a figure."""
        return self.scale, self.method, self.variant or ""

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Scale, method, variant (or ""), seed: what identifies a run."""
        return *self.row, self.seed


def external_label(name: str, title: str) -> RunLabel:
    """The label of weights that this study did not train."""
    return RunLabel(scale=EXTERNAL, method=name, seed=0, title=title, scale_title=EXTERNAL_TITLE)


class Shown(Section):
    """What a table or figure is made from."""

    experiment: Experiment
    """Its function, options, title and caption."""
    benchmark: Benchmark
    """Tasks and averages, with their titles."""
    runs: list[RunLabel]
    """The runs, in the order in which they are shown."""
    evaluations: list[FilePath]
    """One JSON file per run and task, in any order."""
    metrics: list[FilePath]
    """One metrics.jsonl per run, in any order."""


class CorpusLabel(Section):
    """A training corpus in the notes under a table."""

    title: str
    """Name that readers see."""
    published_pairs: int | None = None
    """Training pairs that the paper's authors had."""


class TableSettings(Shown):
    """The settings of the stage `table`."""

    manifests: list[FilePath] = []
    """manifest.json of each training corpus: how much of it could be downloaded."""
    corpora: dict[Name, CorpusLabel] = {}
    """Corpus → its label."""
    provenance: list[FilePath] = []
    """provenance.json of the runs, where `options.cost` asks for it."""
    study: Name | None = None
    """The study's name, for the command that makes missing runs."""
    published: FilePath | None = None
    """The csv file of published numbers that `options.published` names."""
    later_work: FilePath | None = None
    """The csv file of other authors' runs that `options.later_work` names."""


class FigureSettings(Shown):
    """The settings of the stage `figure`."""

    published: FilePath | None = None
    """The csv file of published numbers that `options.published` names."""
    provenance: list[FilePath] = []
    """provenance.json of the runs, for figures of what training costs."""
    style: FigureStyle = FigureStyle()
    """Size, resolution and text size."""
