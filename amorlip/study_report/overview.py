"""The first page: what ran, on what, with what yield, and what differs from the paper or needs attention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from amorlip.study_report.evidence import Evidence, JobState, Model
from amorlip.study_report.sources import Setting, settings

DONE, RUNNING = "done", ("training", "starting")


@dataclass(frozen=True)
class Progress:
    """Jobs of one rule."""

    rule: str
    done: int
    total: int
    failed: list[JobState]


@dataclass(frozen=True)
class CorpusYield:
    """A split of a training corpus: what was asked for, and what can be used."""

    name: str
    title: str
    split: str
    requested: int
    usable: int
    share: float
    lost: list[tuple[str, int]]
    """Reason → pairs."""
    published: int | None
    """Pairs that the paper's authors had."""
    digest: str


@dataclass(frozen=True)
class Choice:
    """A number that no source prints."""

    setting: Setting
    models: list[Model]
    """Runs that use it, one per scale and method."""


@dataclass(frozen=True)
class Overview:
    """What the first page shows, apart from tables and figures."""

    progress: list[Progress]
    yields: list[CorpusYield]
    devices: list[tuple[str, int]]
    """Device → runs."""
    platforms: list[tuple[str, int]]
    versions: list[tuple[str, list[tuple[str, int]]]]
    """Package → (version, runs)."""
    revisions: list[tuple[str, int]]
    training_hours: float
    deviations: list[tuple[str, str]]
    """What differs, why."""
    choices: list[Choice]
    failed: list[JobState]
    running: list[Model]


def overview(evidence: Evidence) -> Overview:
    """The first page."""
    known = [model.provenance for model in evidence.models if model.provenance]
    packages = dict.fromkeys(name for record in known for name in record.versions)
    yields = _yields(evidence)
    return Overview(
        progress=_progress(evidence),
        yields=yields,
        devices=_counted(f"{record.ranks} × {record.device}" for record in known),
        platforms=_counted(f"{record.platform}, {record.cpu_capability}" for record in known),
        versions=[
            (name, _counted(record.versions[name] for record in known if name in record.versions)) for name in packages
        ],
        revisions=_counted(record.git_revision or "not from a git checkout" for record in known),
        training_hours=sum(record.training_seconds for record in known) / 3600,
        deviations=[*_missing_tasks(evidence), *_fewer_pairs(yields), *_runs(evidence.models)],
        choices=_choices(evidence),
        # parts of a download that failed have one log
        failed=list({entry.log: entry for entry in evidence.jobs if entry.state == "failed"}.values()),
        running=[model for model in evidence.models if model.status and model.status.state in RUNNING],
    )


def _counted(values: Iterable[str]) -> list[tuple[str, int]]:
    return Counter(values).most_common()


def _progress(evidence: Evidence) -> list[Progress]:
    rules = dict.fromkeys(entry.job.rule for entry in evidence.jobs)
    found = []
    for rule in rules:
        states = [entry for entry in evidence.jobs if entry.job.rule == rule]
        failed = [entry for entry in states if entry.state == "failed"]
        found.append(Progress(rule, sum(entry.state == DONE for entry in states), len(states), failed))
    return found


def _yields(evidence: Evidence) -> list[CorpusYield]:
    corpora = evidence.study.corpora
    return [
        CorpusYield(
            name=name,
            title=corpora[name].title,
            split=split,
            requested=manifest.requested,
            usable=manifest.samples,
            share=manifest.usable_fraction,
            lost=[*manifest.failed.items(), *manifest.refused.items()],
            published=corpora[name].published_pairs if split == "train" else None,
            digest=manifest.digest,
        )
        for (name, split), manifest in evidence.manifests.items()
    ]


def _missing_tasks(evidence: Evidence) -> list[tuple[str, str]]:
    tasks = evidence.study.benchmark.tasks
    return [
        (f"The task {tasks[key].title} was left out.", record.missing)
        for key, record in evidence.tasks.items()
        if record.missing
    ]


def _fewer_pairs(yields: list[CorpusYield]) -> list[tuple[str, str]]:
    found = []
    for entry in yields:
        if entry.published and entry.usable != entry.published:
            what = f"{entry.title} has {entry.usable:,} usable pairs, where the paper's authors had"
            lost = ", ".join(f"{reason}: {count:,}" for reason, count in entry.lost) or "none was refused"
            found.append((f"{what} {entry.published:,}.", f"of {entry.requested:,} requested pairs; {lost}"))
    return found


def _runs(models: list[Model]) -> list[tuple[str, str]]:
    """What happened to runs that a reader should know."""
    found = []
    for model in models:
        if (record := model.provenance) is None:
            continue
        name = f"{model.scale}/{model.name}"
        codes = list(dict.fromkeys(start.source_digest for start in record.starts))
        if len(codes) > 1:
            found.append((f"{name} was computed by {len(codes)} states of the code.", "it was resumed after a change"))
        if (record.git_revision or "").endswith("+changes"):
            found.append(
                (f"{name} was computed by code with changes that are in no commit.", record.git_revision or "")
            )
        if record.skipped_steps:
            found.append(
                (f"{name} skipped {record.skipped_steps:,} of {record.steps:,} steps.", "gradients not finite")
            )
    return found


def _choices(evidence: Evidence) -> list[Choice]:
    """Numbers whose comment says that no source prints them, each line of a file once."""
    found: dict[tuple[str, str, str], Choice] = {}
    seen = set()
    for model in evidence.models:
        if model.run is None or model.resolved is None or model.row in seen:
            continue
        seen.add(model.row)
        for section in settings(model.run, model.resolved).values():
            for setting in section:
                if setting.is_unpublished:
                    key = (setting.place, setting.key, setting.value)
                    found.setdefault(key, Choice(setting, [])).models.append(model)
    return list(found.values())
