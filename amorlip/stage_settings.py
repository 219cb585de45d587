"""What each stage of a study depends on: the settings that its command gets.

Snakemake runs a job again when its settings differ from those it last ran with. So they hold resolved values, all that
decide the stage's result, and nothing else; see docs/decisions/2026-11-22-keys-that-rerun-nothing.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amorlip.config import display
from amorlip.config.benchmark import TaskContent
from amorlip.study import Study

PINS = ("commit", "sha256", "train_sha256", "validation_sha256")
"""Keys that `amorlip pin` writes. They are compared when a stage runs, but do not make it run again."""


def artwork(study: Study, corpus: str) -> dict[str, Any]:
    """Packages and splits of the pictures."""
    settings = study.corpora[corpus]
    if settings.source == "icons" and settings.icons is not None:
        return {"icons": settings.icons.model_dump()}
    assert settings.emoji is not None
    return settings.emoji.model_dump()


def urls(study: Study, corpus: str) -> dict[str, Any]:
    """Where the addresses and captions come from."""
    return _corpus(study, corpus, "image", "samples_per_shard", "min_yield", "transparency")


def download(study: Study, corpus: str) -> dict[str, Any]:
    """What is downloaded, and how it is stored."""
    settings = study.corpora[corpus]
    # A mirror's shards are stored as they are. The default is left out, as it was before downloads had this key.
    stored = settings.source != "mirror" and settings.transparency != "white"
    return _corpus(study, corpus, "min_yield", *([] if stored else ["transparency"]))


def shards(study: Study, corpus: str) -> dict[str, Any]:
    """What the shards should hold."""
    return _corpus(study, corpus)


def _corpus(study: Study, corpus: str, *unneeded: str) -> dict[str, Any]:
    settings = study.corpora[corpus].deciding(*unneeded)
    # Defaults are left out, as they were before there were these keys.
    if settings["icons"] is None:
        del settings["icons"]
    if settings["urls"] and not settings["urls"]["allow_private_addresses"]:
        del settings["urls"]["allow_private_addresses"]
    return settings


def tasks(study: Study, task: str) -> dict[str, Any]:
    """Where a task's files come from, and what they should hold."""
    definition = study.benchmark.tasks[task]
    content = definition.model_dump(include=set(TaskContent.model_fields))
    return {**definition.source.deciding(), "content": content}


def pins_of_task(study: Study, task: str) -> dict[str, Any]:
    """The commit and the checksum that the files of a task must have."""
    return _pins(study.benchmark.tasks[task].source.model_dump())


def pins_of_corpus(study: Study, corpus: str) -> dict[str, Any]:
    """The commits and checksums that what a corpus is made from must have."""
    settings = study.corpora[corpus].model_dump()
    return _pins({source: settings[source] for source in ("urls", "mirror")})


def _pins(settings: Any) -> dict[str, Any]:
    """The keys of `settings` that are pins and are set, nested as they are there."""
    found = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found[key] = _pins(value)
        elif key in PINS and value is not None:
            found[key] = value
    return {key: value for key, value in found.items() if value != {}}


def train(study: Study, scale: str, name: str) -> dict[str, Any]:
    """The run, without the keys that change no result, and the tasks that are evaluated after each epoch."""
    run = study.run(scale, name)
    return {
        "run": run.deciding(),
        **_measured_tasks(study, run.recipe.epoch_tasks),
    }


def evaluate(study: Study, scale: str, tasks: Sequence[str]) -> dict[str, Any]:
    """The tasks of a job, precision and batch size."""
    return {**_measured_tasks(study, tasks), "evaluation": study.scales[scale].evaluation.deciding()}


def evaluate_external(study: Study, name: str, tasks: Sequence[str]) -> dict[str, Any]:
    """The tasks of a job, precision and batch size, and the name under which tables look for the results."""
    evaluation = study.selection.external_models[name].evaluation.deciding()
    return {**_measured_tasks(study, tasks), "evaluation": evaluation, "name": name}


def _measured_tasks(study: Study, tasks: Sequence[str]) -> dict[str, Any]:
    return {"tasks": {task: _measured(study, task) for task in tasks}}


def weights(study: Study, name: str) -> dict[str, Any]:
    """OpenCLIP's names of an external model's architecture and weights."""
    return study.selection.external_models[name].model_dump(include={"model", "pretrained"})


def _measured(study: Study, task: str) -> dict[str, Any]:
    """A task's keys without those that change no measurement."""
    return study.benchmark.tasks[task].deciding("source")


def table(
    study: Study,
    name: str,
    *,
    evaluations: Sequence[str],
    metrics: Sequence[str],
    manifests: Sequence[str],
    published: str | None,
    later_work: str | None = None,
    provenance: Sequence[str] = (),
) -> dict[str, Any]:
    """What a table shows, with the corpora's yields and the published numbers that it is compared with."""
    shown = _shown(study, name, evaluations, metrics)
    external = study.selection.external_models.items()
    shown["runs"] += [display.external_label(key, model.title) for key, model in external]
    return display.TableSettings(
        **shown,
        manifests=[Path(path) for path in manifests],
        corpora={
            key: display.CorpusLabel(title=corpus.title, published_pairs=corpus.published_pairs)
            for key, corpus in study.corpora.items()
        },
        provenance=[Path(path) for path in provenance],
        study=study.selection.name,
        published=None if published is None else Path(published),
        later_work=None if later_work is None else Path(later_work),
    ).model_dump(mode="json")


def figure(
    study: Study, name: str, *, evaluations: Sequence[str], metrics: Sequence[str], published: str | None = None,
    provenance: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """What a figure shows, and its style."""
    return display.FigureSettings(
        **_shown(study, name, evaluations, metrics),
        published=None if published is None else Path(published),
        provenance=[Path(path) for path in provenance],
        style=study.selection.figures,
    ).model_dump(mode="json")


def _shown(study: Study, name: str, evaluations: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    """The experiment's own keys, the benchmark's titles and columns, the runs, and the result files."""
    return {
        "experiment": study.experiments[name],
        "benchmark": study.benchmark,
        "runs": [
            display.RunLabel(
                **run.model_dump(include={"scale", "method", "variant", "seed"}),
                title=title,
                scale_title=study.scales[run.scale].title,
            )
            for title, run in study.experiment_runs(name)
        ],
        "evaluations": list(evaluations),
        "metrics": list(metrics),
    }


def study_report(study: Study) -> dict[str, Any]:
    """All of the configuration: the report shows every key of every run."""
    named = {kind: getattr(study, kind) for kind in ("scales", "methods", "experiments", "corpora")}
    sections = {
        kind: {name: section.model_dump(mode="json") for name, section in found.items()}
        for kind, found in named.items()
    }
    return {**sections, "selection": study_config(study), "benchmark": study.benchmark.model_dump(mode="json")}


def study_config(study: Study) -> dict[str, Any]:
    """The study's top-level configuration."""
    return study.selection.model_dump()
