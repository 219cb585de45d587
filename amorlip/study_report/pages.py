"""The page of a run and the page of a task."""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from amorlip.common.errors import AmorlipError
from amorlip.common.limits import read_file
from amorlip.config.benchmark import Task
from amorlip.evaluation.record import Evaluation
from amorlip.study_report import pictures
from amorlip.study_report.charts import Chart, charts
from amorlip.study_report.commands import Command, commands
from amorlip.study_report.evidence import PROVENANCE, Evidence, Model, tail
from amorlip.study_report.pictures import Gallery
from amorlip.study_report.sources import Setting, headers, settings

LOG_LINES = 40
MOST_CLASSES = 40
"""Of a task that are shown; of more, the best and the worst half of this number."""


@dataclass(frozen=True)
class ClassScore:
    """A class of a task, and how many of its images were classified correctly."""

    name: str
    correct: int
    count: int


@dataclass(frozen=True)
class TaskResult:
    """A run on one task."""

    key: str
    task: Task
    evaluation: Evaluation | None
    """None: not evaluated yet."""
    classes: list[ClassScore]
    hidden: int
    """Classes that are not shown."""


@dataclass(frozen=True)
class RunPage:
    """Everything about one run."""

    model: Model
    results: list[TaskResult]
    charts: list[Chart]
    settings: dict[str, list[Setting]]
    headers: list[tuple[str, str]]
    """File, and what it says of all its numbers."""
    commands: list[Command]
    log: list[str]
    provenance: list[tuple[str, Any]]


@dataclass(frozen=True)
class ClassRow:
    """A class of a task: share of correct images by method, and images."""

    name: str
    count: int
    shares: list[float | None]


@dataclass(frozen=True)
class TaskPage:
    """Everything about one task."""

    key: str
    task: Task
    source: list[tuple[str, str]]
    missing: str | None
    models: list[tuple[Model, Evaluation]]
    methods: list[Model]
    """One model per scale, method and variant, the columns of `classes` and `groups`."""
    classes: list[ClassRow]
    hidden: int
    groups: list[ClassRow]
    galleries: list[Gallery]
    licenses: list[tuple[str, str]]


def run_page(evidence: Evidence, model: Model, names: dict[str, list[str]]) -> RunPage:
    """The page of a run. `names` are the class names of each task."""
    tasks = evidence.study.benchmark.tasks
    results = []
    for key, task in tasks.items():
        evaluation = model.evaluations.get(key)
        classes = [] if evaluation is None else _classes(evaluation, names.get(key, []))
        results.append(TaskResult(key, task, evaluation, _ends(classes), max(0, len(classes) - MOST_CLASSES)))
    records = sorted(model.results.glob(".evaluated-*.json"))
    return RunPage(
        model=model,
        results=results,
        charts=charts(model.metrics, {key: task.main_metric for key, task in tasks.items()}),
        settings=settings(model.run, model.resolved) if model.run and model.resolved else {},
        headers=headers(model.resolved) if model.resolved else [],
        commands=commands([model.folder / PROVENANCE, *records] if model.run else records),
        log=tail(model.log, LOG_LINES),
        provenance=_provenance(model),
    )


def _provenance(model: Model) -> list[tuple[str, Any]]:
    if (record := model.provenance) is None:
        return []
    fields = record.model_dump(exclude={"scale", "method", "variant", "seed", "corpus", "versions", "starts"})
    starts = [f"step {start.from_step} by {start.git_revision}, {start.device}" for start in record.starts]
    return [
        *fields.items(),
        *((f"version of {name}", version) for name, version in record.versions.items()),
        *((f"start {number}", text) for number, text in enumerate(starts, start=1)),
    ]


def _classes(evaluation: Evaluation, names: list[str]) -> list[ClassScore]:
    found = evaluation.per_class or {}
    pairs = zip(found.get("correct", []), found.get("count", []), strict=False)
    return [
        ClassScore(names[number] if number < len(names) else f"class {number}", correct, count)
        for number, (correct, count) in enumerate(pairs)
        if count
    ]


def _ends(classes: list[ClassScore]) -> list[ClassScore]:
    """All classes, or the best and the worst ones, best first."""
    ordered = sorted(classes, key=lambda entry: (-entry.correct / entry.count, entry.name))
    half = MOST_CLASSES // 2
    return ordered if len(ordered) <= MOST_CLASSES else [*ordered[:half], *ordered[-half:]]


def class_names(evidence: Evidence, key: str) -> list[str]:
    """The class names of a task; none if it has no classes or is not there."""
    path = evidence.results / "tasks" / key / "classnames.txt"
    try:
        return [line.strip() for line in read_file(path).decode("utf-8-sig", errors="replace").rstrip().split("\n")]
    except (OSError, AmorlipError):
        return []


def task_page(evidence: Evidence, key: str, names: list[str]) -> TaskPage:
    """The page of a task, whose classes are called `names`."""
    task = evidence.study.benchmark.tasks[key]
    models = [(model, model.evaluations[key]) for model in evidence.models if key in model.evaluations]
    rows: dict[tuple[str, str, str], list[tuple[Model, Evaluation]]] = {}
    for model, evaluation in models:
        rows.setdefault(model.row, []).append((model, evaluation))
    methods = [found[0][0] for found in rows.values()]
    evaluations = [[evaluation for _, evaluation in found] for found in rows.values()]
    classes = _class_rows(evaluations, names)
    ordered = sorted(classes, key=lambda row: (-_mean(row.shares), row.name))
    half = MOST_CLASSES // 2
    licenses = pictures.licenses(evidence, task)
    galleries = pictures.galleries(evidence, key) if licenses else []  # not without naming where they are from
    record = evidence.tasks.get(key)
    return TaskPage(
        key=key,
        task=task,
        source=_source(record.source if record else task.source.model_dump(mode="json", exclude_none=True)),
        missing=record.missing if record else None,
        models=models,
        methods=methods,
        classes=ordered if len(ordered) <= MOST_CLASSES else [*ordered[:half], *ordered[-half:]],
        hidden=max(0, len(ordered) - MOST_CLASSES),
        groups=_group_rows(evaluations),
        galleries=galleries,
        licenses=licenses if galleries else [],
    )


def _source(source: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (str(key), value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for key, value in source.items()
        if value not in (None, "", {}, [])
    ]


def _mean(shares: list[float | None]) -> float:
    known = [share for share in shares if share is not None]
    return fmean(known) if known else 0.0


def _class_rows(methods: list[list[Evaluation]], names: list[str]) -> list[ClassRow]:
    """One row per class; each share is of the images of all seeds of a method."""
    number_of = max((len((one.per_class or {}).get("count", [])) for seeds in methods for one in seeds), default=0)
    rows = []
    for number in range(number_of):
        counts = [[_cell(one, "count", number) for one in seeds] for seeds in methods]
        correct = [[_cell(one, "correct", number) for one in seeds] for seeds in methods]
        most = max(map(max, counts))
        if most:
            shares = [
                sum(right) / sum(all_) if sum(all_) else None for right, all_ in zip(correct, counts, strict=True)
            ]
            rows.append(ClassRow(names[number] if number < len(names) else f"class {number}", most, shares))
    return rows


def _cell(evaluation: Evaluation, what: str, number: int) -> int:
    values = (evaluation.per_class or {}).get(what, [])
    return values[number] if number < len(values) else 0


def _group_rows(methods: list[list[Evaluation]]) -> list[ClassRow]:
    """One row per group: top-1 accuracy by method, mean over its seeds."""
    names = dict.fromkeys(name for seeds in methods for one in seeds for name in one.groups or {})
    rows = []
    for name in names:
        found = [[(one.groups or {}).get(name, {}) for one in seeds] for seeds in methods]
        known = [[group["acc1"] for group in seeds if "acc1" in group] for seeds in found]
        count = max((int(group.get("count", 0)) for seeds in found for group in seeds), default=0)
        rows.append(ClassRow(name, count, [fmean(values) if values else None for values in known]))
    return rows
