"""Keys of the top-level file, such as `config/config.yaml`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from amorlip.config.base import Affects, Count, Name, Positive, Section, Seed, refused
from amorlip.config.scale import EvaluationResources, EvaluationSettings


class FigureStyle(Section):
    """Looks of all figures."""

    dpi: Count = 150
    """Resolution of the png files [dots per inch]."""
    width_in: Positive = 6.5
    """Width [inches]."""
    height_in: Positive = 4.0
    """Height of one panel [inches]."""
    font_size: Positive = 9.0
    """Size of the text [points]."""


class Overrides(Section):
    """Changes to the named files, nested as there: `{scales: {demo: {recipe: {epochs: 2}}}}`."""

    corpora: dict[str, dict[str, Any]] = {}
    """Changes to files in corpora/."""
    scales: dict[str, dict[str, Any]] = {}
    """Changes to files in scales/."""
    methods: dict[str, dict[str, Any]] = {}
    """Changes to files in methods/."""
    benchmarks: dict[str, dict[str, Any]] = {}
    """Changes to files in benchmarks/."""
    experiments: dict[str, dict[str, Any]] = {}
    """Changes to files in experiments/."""


EXTERNAL = "external"
"""In files and tables, the scale of models that were not trained here."""


class ExternalModel(Section):
    """Weights that were not trained here, evaluated on the benchmark's tasks and shown in the same tables."""

    title: Annotated[str, Affects.DISPLAY]
    """Name in tables."""
    model: str
    """OpenCLIP architecture."""
    pretrained: str
    """OpenCLIP's name for published weights, which are then downloaded, or the path of a file."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """Precision and batch size."""
    resources: Annotated[EvaluationResources, Affects.NOTHING] = EvaluationResources()
    """Per job that evaluates it."""


SHARED_FOLDERS = ("corpora", "tasks", "settings", "deleted", "bench", "benchmarks", "preview")
"""In results/, next to the folders of studies; `benchmarks` is the name that earlier versions used for `tasks`."""


class Selection(Section):
    """The top-level file: which scales, methods, seeds, benchmark and experiments make one study."""

    name: Name
    """Folder of the study's results."""
    scales: list[Name]
    """Files in scales/."""
    methods: list[Name]
    """Files in methods/."""
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    """One run per seed, method and scale."""
    benchmark: Name
    """File in benchmarks/."""
    experiments: list[Name]
    """Files in experiments/."""
    external_models: dict[Name, ExternalModel] = {}
    """Name → published weights that tables show next to the runs."""
    allow_missing_tasks: Annotated[bool, Affects.NOTHING] = False
    """Continue without evaluation sets that are gated or missing; tables name them and show no average over them."""
    figures: Annotated[FigureStyle, Affects.DISPLAY] = FigureStyle()
    """Looks of all figures."""
    overrides: Overrides = Overrides()
    """Changes to the named files."""

    @model_validator(mode="after")
    def _external_is_not_a_scale(self) -> Selection:
        if self.external_models and EXTERNAL in self.scales:
            raise refused(f"a scale must not be named '{EXTERNAL}' if there are external_models", "scales")
        return self

    @model_validator(mode="after")
    def _name_is_not_a_shared_folder(self) -> Selection:
        if self.name in SHARED_FOLDERS:
            raise refused(f"'{self.name}' is a folder that all studies share; choose another name", "name")
        return self

    @model_validator(mode="after")
    def _nothing_is_listed_twice(self) -> Selection:
        for key in ("scales", "methods", "seeds", "experiments"):
            listed = getattr(self, key)
            if twice := [item for item in listed if listed.count(item) > 1]:
                raise refused(f"'{twice[0]}' is listed twice", key)
        return self
