"""From the YAML files under config/ to typed sections and the runs they ask for.

A study is made of a top-level file (`Selection`) and the files it names. Layers are merged key by key, later
ones winning: file, then `overrides`; for a run: the scale's recipe, the method, what the scale changes in the
method, what a variant changes. Each layer is validated when it is laid on, so an error names its file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from amorlip.common import files
from amorlip.common.errors import AmorlipError, one_line, unknown_key
from amorlip.config.base import Section
from amorlip.config.benchmark import Benchmark
from amorlip.config.corpus import Corpus
from amorlip.config.experiment import Experiment, Variant, options_type
from amorlip.config.load import merge, read_yaml, validate
from amorlip.config.method import Method, MethodLayer
from amorlip.config.objectives import OBJECTIVES, settings_type
from amorlip.config.recipe import Recipe
from amorlip.config.run import Run
from amorlip.config.scale import Scale
from amorlip.config.study import Selection

S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Study:
    """A resolved configuration: the selection, the sections it names, and the runs of its experiments."""

    selection: Selection
    folder: Path

    # -- the named files

    def _read(self, kind: str, name: str, section: type[S]) -> S:
        path = self.folder / kind / f"{name}.yaml"
        if not path.is_file():
            known = [file.stem for file in (self.folder / kind).glob("*.yaml")]
            raise AmorlipError(f"{self.folder / kind}: {unknown_key(name, known, 'file')}")
        data = read_yaml(path)
        read = validate(section, data, str(path))
        layer = getattr(self.selection.overrides, kind).get(name, {})
        return validate(section, merge(data, layer), f"overrides.{kind}.{name}") if layer else read

    @cached_property
    def scales(self) -> dict[str, Scale]:
        """Name → scale."""
        return {name: self._read("scales", name, Scale) for name in self.selection.scales}

    @cached_property
    def experiments(self) -> dict[str, Experiment]:
        """Name → experiment."""
        experiments = {name: self._read("experiments", name, Experiment) for name in self.selection.experiments}
        for name, experiment in experiments.items():
            where = f"{self.folder}/experiments/{name}.yaml: options"
            validate(options_type(experiment.kind, experiment.function), experiment.options, where)
        return experiments

    @cached_property
    def methods(self) -> dict[str, Method]:
        """Name → method: the selected ones and those that variants refer to."""
        names = [*self.selection.methods]
        names += [v.method for e in self.experiments.values() for v in e.variants if v.method not in names]
        return {name: self._read("methods", name, Method) for name in names}

    @cached_property
    def corpora(self) -> dict[str, Corpus]:
        """Name → corpus: those that scales or tasks use."""
        names = {run.recipe.corpus for _, run in self.runs}
        names |= {task.source.corpus for task in self.benchmark.tasks.values() if task.source.corpus}
        return {name: self._read("corpora", name, Corpus) for name in sorted(names)}

    @cached_property
    def benchmark(self) -> Benchmark:
        """The benchmark."""
        return self._read("benchmarks", self.selection.benchmark, Benchmark)

    # -- runs

    def _run(self, scale_name: str, method_name: str, seed: int, variant: Variant | None) -> Run:
        scale, method = self.scales[scale_name], self.methods[method_name]
        layers: list[tuple[str, MethodLayer]] = [
            (f"methods/{method_name}.yaml", method),
            (f"scales/{scale_name}.yaml: methods.{method_name}", scale.methods.get(method_name, MethodLayer())),
        ]
        if variant:
            layers.append((f"variant {variant.name}", variant))
        if method.objective not in OBJECTIVES:
            where = f"{self.folder}/methods/{method_name}.yaml: objective"
            raise AmorlipError(f"{where}: {unknown_key(method.objective, OBJECTIVES, 'objective')}")
        keys = settings_type(method.objective)
        recipe, settings = scale.recipe.model_dump(), {}
        for where, layer in layers:
            recipe = merge(recipe, layer.recipe)
            settings = merge(settings, layer.settings)
            checked = validate(Recipe, recipe, f"{self.folder}/{where}: recipe")
            settings_checked = validate(keys, settings, f"{self.folder}/{where}: settings")
        self._check_recipe(checked, scale_name)
        return Run(
            scale=scale_name,
            method=method_name,
            variant=variant.name if variant else None,
            seed=seed,
            objective=method.objective,
            settings=settings_checked.model_dump(),
            recipe=checked,
        )

    def _check_recipe(self, recipe: Recipe, scale: str) -> None:
        where = f"{self.folder}/scales/{scale}.yaml: recipe"
        for task in recipe.epoch_tasks:
            if task not in self.benchmark.tasks:
                raise AmorlipError(f"{where}.epoch_tasks: {unknown_key(task, self.benchmark.tasks, 'task')}")
        if recipe.batch_size % recipe.ranks:
            raise AmorlipError(f"{where}: batch_size {recipe.batch_size} is no multiple of ranks {recipe.ranks}")

    def experiment_runs(self, name: str) -> list[tuple[str, Run]]:
        """(title, run) of the runs that an experiment shows: scales × (methods, then variants) × seeds."""
        experiment = self.experiments[name]
        where = f"{self.folder}/experiments/{name}.yaml"
        scales = self.selection.scales if experiment.scales is None else experiment.scales
        methods = self.selection.methods if experiment.methods is None else experiment.methods
        for chosen, known, what in ((scales, self.scales, "scale"), (methods, self.methods, "method")):
            for item in chosen:
                if item not in known:
                    raise AmorlipError(f"{where}: {unknown_key(item, known, what)}")
        rows = [(self.methods[method].title, method, None) for method in methods]
        rows += [(variant.title, variant.method, variant) for variant in experiment.variants]
        return [
            (title, self._run(scale, method, seed, variant))
            for scale in scales
            for title, method, variant in rows
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
                    raise AmorlipError(f"{self.folder}/experiments/{experiment}.yaml: another run is named {run.name}")
        if not distinct:
            raise AmorlipError("the study has no runs; name at least one scale, method and experiment")
        return list(distinct.values())

    def run(self, scale: str, name: str) -> Run:
        """The run of that name."""
        return next(run for _, run in self.runs if (run.scale, run.name) == (scale, name))


def load_study(selection: Mapping[str, Any], folder: Path, where: str = "configuration") -> Study:
    """Resolve and check a whole study.

    Args:
        selection: content of the top-level file.
        folder: the folder with scales/, methods/, corpora/, benchmarks/ and experiments/.
        where: name of the top-level file, for messages.

    Raises:
        AmorlipError: with one line that names file, key, value and the nearest known key.
    """
    study = Study(validate(Selection, selection, where), folder)
    for kind in ("corpora", "scales", "methods", "benchmarks", "experiments"):
        used = [study.selection.benchmark] if kind == "benchmarks" else getattr(study, kind)
        for name in getattr(study.selection.overrides, kind):
            if name not in used:
                raise AmorlipError(f"{where}: overrides.{kind}: {unknown_key(name, used, 'name')}")
    return study


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
