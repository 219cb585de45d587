"""From the files of a study to typed sections and the runs of its experiments.

Layers are merged key by key, later ones winning: file, then `overrides`; for a run: the scale's recipe, the method,
what the scale changes in the method, what a variant changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config import checks
from amorlip.config.base import Section, refused
from amorlip.config.benchmark import Benchmark
from amorlip.config.corpus import Corpus
from amorlip.config.experiment import Experiment
from amorlip.config.load import blaming, validate_layers
from amorlip.config.locations import Layer
from amorlip.config.method import Method
from amorlip.config.named_files import NamedFiles
from amorlip.config.objectives import settings_type
from amorlip.config.recipe import Recipe
from amorlip.config.run import Run
from amorlip.config.scale import Scale
from amorlip.config.selection import Selection


@dataclass(frozen=True)
class Resolved:
    """A method at a scale, or a variant of it: recipe and settings, and the layers they were merged from.

    The layers are the scale's and those of the changes to it, which have the keys `recipe` and `settings`.
    """

    title: str
    objective: str
    settings: Section
    recipe: Recipe
    layers: list[Layer]

    def run(self, scale: str, method: str, variant: str | None, seed: int) -> Run:
        """The run of one seed."""
        return Run(
            scale=scale,
            method=method,
            variant=variant,
            seed=seed,
            objective=self.objective,
            settings=self.settings.model_dump(),
            recipe=self.recipe,
        )


@dataclass(frozen=True)
class Study:
    """A resolved configuration: the selection, the sections it names, and the runs of its experiments."""

    selection: Selection
    files: NamedFiles

    @property
    def folder(self) -> Path:
        """The folder of the named files."""
        return self.files.folder

    # -- the named files

    @cached_property
    def scales(self) -> dict[str, Scale]:
        """Name → scale."""
        return self.files.read_all("scales", self.selection.scales, Scale)

    @cached_property
    def experiments(self) -> dict[str, Experiment]:
        """Name → experiment."""
        return self.files.read_all("experiments", self.selection.experiments, Experiment)

    @cached_property
    def options(self) -> dict[str, Section]:
        """Experiment → the options of its table or figure."""
        options = {}
        for name, experiment in self.experiments.items():
            layers = self.files.layers("experiments", name)
            with blaming(layers):
                section = checks.options_of(experiment)
            options[name] = validate_layers(section, [layer.part("options") for layer in layers])
        return options

    @cached_property
    def methods(self) -> dict[str, Method]:
        """Name → method: the selected ones and those that variants refer to."""
        methods = self.files.read_all("methods", self.selection.methods, Method)
        for name, experiment in self.experiments.items():
            layers = self.files.layers("experiments", name)
            for position, variant in enumerate(experiment.variants):
                key = ("variants", position, "method")
                methods[variant.method] = self.files.read("methods", variant.method, Method, layers, *key)
        return methods

    @cached_property
    def corpora(self) -> dict[str, Corpus]:
        """Name → corpus: those that runs or tasks use."""
        corpora: dict[str, Corpus] = {}
        tasks = self.benchmark.tasks
        for experiment in self.experiments:
            for *_, resolved in self.rows(experiment):
                name = resolved.recipe.corpus
                corpora[name] = self.files.read("corpora", name, Corpus, resolved.layers, "recipe", "corpus")
        layers = self.files.layers("benchmarks", self.selection.benchmark)
        for key, task in tasks.items():
            if name := task.source.corpus:
                corpora[name] = self.files.read("corpora", name, Corpus, layers, "tasks", key, "source", "corpus")
        return dict(sorted(corpora.items()))

    @cached_property
    def benchmark(self) -> Benchmark:
        """The benchmark."""
        return self.files.read("benchmarks", self.selection.benchmark, Benchmark, self.files.top_level, "benchmark")

    # -- runs

    @cached_property
    def _resolutions(self) -> dict[tuple[str, str, tuple[str, int] | None], Resolved]:
        return {}

    def resolve(self, scale: str, method: str, variant: tuple[str, int] | None = None) -> Resolved:
        """A method at a scale, or with `variant` (experiment, position in its list) that variant of it."""
        key = (scale, method, variant)
        if key not in self._resolutions:
            self._resolutions[key] = self._resolve(*key)
        return self._resolutions[key]

    def _resolve(self, scale: str, method: str, variant: tuple[str, int] | None) -> Resolved:
        of_scale, of_method = self.files.layers("scales", scale), self.files.layers("methods", method)
        title, objective = self.methods[method].title, self.methods[method].objective
        with blaming(of_method):
            checks.check_objective(objective)
        changes = [*of_method, *(layer.part("methods", method) for layer in of_scale)]
        if variant is not None:
            experiment, position = variant
            title = self.experiments[experiment].variants[position].title
            listed = [layer for layer in self.files.layers("experiments", experiment) if "variants" in layer.data]
            changes.append(listed[-1].part("variants", position))
        layers = [*of_scale, *changes]
        return Resolved(
            title=title,
            objective=objective,
            settings=validate_layers(settings_type(objective), [layer.part("settings") for layer in changes]),
            recipe=validate_layers(Recipe, [layer.part("recipe") for layer in layers]),
            layers=layers,
        )

    def rows(self, name: str) -> list[tuple[str, str, str | None, Resolved]]:
        """(scale, method, variant, resolved) of an experiment: scales × (methods, then variants)."""
        experiment = self.experiments[name]
        scales = self.selection.scales if experiment.scales is None else experiment.scales
        methods = self.selection.methods if experiment.methods is None else experiment.methods
        with blaming(self.files.layers("experiments", name)):
            for key, chosen, known in (("scales", scales, self.scales), ("methods", methods, self.methods)):
                for item in chosen:
                    if item not in known:
                        raise refused(unknown_key(item, known, key[:-1]), key)
        rows: list[tuple[str, str | None, tuple[str, int] | None]] = [(method, None, None) for method in methods]
        rows += [(each.method, each.name, (name, number)) for number, each in enumerate(experiment.variants)]
        return [
            (scale, method, variant, self.resolve(scale, method, where))
            for scale in scales
            for method, variant, where in rows
        ]

    def experiment_runs(self, name: str) -> list[tuple[str, Run]]:
        """(title, run) of the runs that an experiment shows: scales × (methods, then variants) × seeds."""
        return [
            (resolved.title, resolved.run(scale, method, variant, seed))
            for scale, method, variant, resolved in self.rows(name)
            for seed in self.selection.seeds
        ]

    @cached_property
    def runs(self) -> list[tuple[str, Run]]:
        """(title, run) of every distinct run of all experiments, in their order."""
        distinct: dict[tuple[str, str], tuple[str, Run]] = {}
        for experiment in self.experiments:
            for title, run in self.experiment_runs(experiment):
                known = distinct.setdefault((run.scale, run.name), (title, run))
                if known[1] != run:
                    with blaming(self.files.layers("experiments", experiment)):
                        raise refused(f"two different runs have the name '{run.name}'; rename one variant", "variants")
        if not distinct:
            raise AmorlipError("the study has no runs; name at least one scale, method and experiment")
        return list(distinct.values())

    def run(self, scale: str, name: str) -> Run:
        """The run of that name."""
        return next(run for _, run in self.runs if (run.scale, run.name) == (scale, name))
