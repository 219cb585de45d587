"""From the YAML files under config/ to typed sections and the runs of a study.

A study is made of a top-level file (`Selection`) and the files it names. Layers are merged key by key, later ones
winning: file, then `overrides`; for a run: the scale's recipe, the method, what the scale changes in the method, what a
variant changes. The result is checked, and an error names the file and line where the value was written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from amorlip.common import files
from amorlip.common.errors import AmorlipError, one_line, unknown_key
from amorlip.config import checks
from amorlip.config.base import Section, refused
from amorlip.config.benchmark import Benchmark
from amorlip.config.corpus import Corpus
from amorlip.config.effective import differing, effective
from amorlip.config.experiment import Experiment
from amorlip.config.layers import Layer, read_layer
from amorlip.config.load import blaming, merged, validate_layers
from amorlip.config.method import Method
from amorlip.config.named_files import KINDS, NamedFiles
from amorlip.config.objectives import settings_type
from amorlip.config.recipe import Recipe
from amorlip.config.run import Run
from amorlip.config.scale import Scale
from amorlip.config.study import Selection


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

    # -- checks

    def check(self) -> None:
        """Resolve everything, and check what needs several sections or the user's files. Raises AmorlipError."""
        self._check_overrides()
        for name in self.experiments:
            for scale, _, _, resolved in self.rows(name):
                self._check_recipe(scale, resolved)
            self._check_options(name)
        for name, model in self.selection.external_models.items():
            with blaming(self.files.top_level, "external_models", name):
                checks.check_external_model(model)
                checks.check_weights(model)
        for name, corpus in self.corpora.items():
            with blaming(self.files.layers("corpora", name)):
                checks.check_lists(corpus)
        for key, task in self.benchmark.tasks.items():
            with blaming(self.files.layers("benchmarks", self.selection.benchmark), "tasks", key):
                if task.source.kind == "emoji" and task.source.corpus is not None:
                    checks.check_emoji_corpus(task, self.corpora[task.source.corpus])
                if not self.selection.allow_missing_tasks:
                    checks.check_task_folder(task)

    def _check_overrides(self) -> None:
        for kind in KINDS:
            used = [self.selection.benchmark] if kind == "benchmarks" else getattr(self, kind)
            for name in getattr(self.selection.overrides, kind):
                with blaming(self.files.top_level, "overrides", kind):
                    if name not in used:
                        raise refused(unknown_key(name, used, "name"), name)

    def _check_recipe(self, scale: str, resolved: Resolved) -> None:
        resources = self.scales[scale].train_resources
        with blaming(resolved.layers):
            checks.check_gpus(resolved.recipe, resources)
            checks.check_cpus(resolved.recipe, resources)
        with blaming(resolved.layers, "recipe"):
            checks.check_model(resolved.recipe)
            checks.check_epoch_tasks(resolved.recipe, self.benchmark)
            checks.check_logit_bias(resolved.settings, resolved.recipe)
            checks.check_local_negatives(resolved.settings, resolved.recipe)

    def warnings(self) -> list[str]:
        """What is probably a mistake: rows of one experiment that train the same model, though their keys differ."""
        found = []
        for name in self.experiments:
            seen: dict[str, tuple[str, Resolved]] = {}
            for scale, method, variant, resolved in self.rows(name):
                row = "-".join(part for part in (scale, method, variant) if part)
                key = json.dumps([scale, effective(resolved.objective, resolved.settings, resolved.recipe)])
                first, known = seen.setdefault(key, (row, resolved))
                if first != row:
                    keys = [*differing(known.settings, resolved.settings), *differing(known.recipe, resolved.recipe)]
                    why = f"they differ in {', '.join(keys)}, which changes nothing here" if keys else "nothing differs"
                    found.append(f"{name}: {first} and {row} train the same model ({why})")
        return found

    def _check_options(self, name: str) -> None:
        options = self.options[name]
        with blaming(self.files.layers("experiments", name), "options"):
            checks.check_shown_tasks(options, self.benchmark)
            checks.check_followed_task(options, [resolved.recipe for *_, resolved in self.rows(name)])
            checks.check_published(options, self.folder)


def load_study(
    selection: Mapping[str, Any],
    folder: Path,
    where: str = "configuration",
    layers: Sequence[Layer] = (),
) -> Study:
    """Resolve and check a whole study.

    Args:
        selection: content of the top-level configuration.
        folder: the folder with scales/, methods/, corpora/, benchmarks/, experiments/ and paper/.
        where: name of the top-level configuration, for messages about keys that none of `layers` has.
        layers: what `selection` was merged from, for messages; see `top_level_layers`.

    Raises:
        AmorlipError: with one line that names file, line, key, value and the nearest known key.
    """
    known = list(layers) if merged(layers) == dict(selection) else [Layer(selection, where)]
    study = Study(validate_layers(Selection, known), NamedFiles(folder, known))
    study.check()
    return study


def top_level_layers(files: Sequence[Path], folder: Path, given: Mapping[str, Any] | None = None) -> list[Layer]:
    """The layers of a top-level configuration, as Snakemake lays them over each other.

    `folder`/config.yaml, then `files` (those after `--configfile`) in order, then `given` (what follows `--config`).
    """
    layers = [read_layer(path) for path in (folder / "config.yaml", *files)]
    return [*layers, *([Layer(given, "--config")] if given else [])]


def check_lengths(study: Study, folder: Path) -> None:
    """Raise AmorlipError if a run is too short for its warmup or batch, where `folder` has its corpus' manifest."""
    for name in study.experiments:
        for *_, resolved in study.rows(name):
            manifest = folder / resolved.recipe.corpus / "train" / "manifest.json"
            try:
                samples = json.loads(manifest.read_text(encoding="utf-8"))["samples"]
            except (OSError, ValueError, TypeError, KeyError):
                continue  # not made yet, or damaged, which the stage that reads it reports
            with blaming(resolved.layers, "recipe"):
                checks.check_length(resolved.recipe, samples, manifest)


def require_tasks(study: Study, folder: Path) -> None:
    """Raise AmorlipError if a set was left out in `folder` by a study that allowed it, and `study` does not."""
    for task in () if study.selection.allow_missing_tasks else study.benchmark.tasks:
        record = folder / task / "task.json"
        if not record.is_file():
            continue
        try:
            reason = json.loads(record.read_text(encoding="utf-8")).get("missing")
        except (ValueError, AttributeError) as error:
            raise AmorlipError(f"{record} is damaged ({one_line(error)}); delete it") from error
        if reason:
            raise AmorlipError(
                f"{record}: left out by a study that allowed it ({reason}); to try again: "
                f"snakemake --force {record} --config allow_missing_tasks=true"
            )


def settings_file(stage: str, settings: Mapping[str, Any], folder: Path) -> Path:
    """The file in `folder` that holds `settings` for one call of a stage; its name holds their digest.

    Written if it is not there, so that a command line stays short and can be repeated by hand.
    """
    text = json.dumps(settings, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    path = folder / f"{stage}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    if not path.is_file():
        files.write_text(path, text)
    return path
