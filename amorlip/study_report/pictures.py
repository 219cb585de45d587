"""Sample pictures of a task, with what two models took them for: only of the sets that this project renders itself.

The drawings behind them are free (config/corpora/ has each package's license, which the report shows). Of other sets,
most licenses do not allow passing pictures on.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from amorlip.common.errors import AmorlipError
from amorlip.config.benchmark import Task
from amorlip.emoji.records import PACKAGES, PackagesRecord
from amorlip.icons.records import SETS, SetsRecord
from amorlip.study_report.evidence import Evidence, Model, read_or_note
from amorlip.tasks.read import open_classification

EACH = 6
"""Right and wrong predictions of each model."""
MOST_BYTES = 50_000
"""Of one picture in the page."""
TYPES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp"}
"""First bytes → type. SVG is not among them: it may hold scripts."""
UNLICENSED = ("digits",)
"""Task sets whose package does not state the license of its data; see NOTICE."""
KINDS = ("classification", "classification_grouped")


@dataclass(frozen=True)
class Picture:
    """One picture with its true class and the predicted one."""

    source: Markup
    """A data: address."""
    label: str
    prediction: str

    @property
    def is_right(self) -> bool:
        """Whether the prediction is the label."""
        return self.label == self.prediction


@dataclass(frozen=True)
class Gallery:
    """Pictures that one model was right and wrong about."""

    model: Model
    why: str
    """Why this model is shown."""
    right: list[Picture]
    wrong: list[Picture]


def may_show(task: Task) -> bool:
    """Whether the report may hold pictures of a task: its own drawings, with one class each."""
    return task.source.is_rendered and task.source.builder not in UNLICENSED and task.kind in KINDS


def galleries(evidence: Evidence, key: str) -> list[Gallery]:
    """Pictures for the best method of each scale and for CLIP there, by the first seed of each."""
    task, folder = evidence.study.benchmark.tasks[key], evidence.results / "tasks" / key
    if not may_show(task) or not (folder / "classnames.txt").is_file():
        return []
    try:
        images = open_classification(folder, task)
        found = [_gallery(model, why, key, images.names) for model, why in _shown_models(evidence, key)]
        wanted = {sample for _, _, rows in found for sample in rows["key"]}
        sources = {record.key: _source(record.read()) for record in images.records() if record.key in wanted}
    except (AmorlipError, OSError, ValueError, KeyError, IndexError) as error:  # pictures are no reason to fail
        evidence.trouble.append(f"no pictures of the task {key}: {error}")
        return []
    return [_filled(model, why, rows, sources) for model, why, rows in found if len(rows)]


def _shown_models(evidence: Evidence, key: str) -> list[tuple[Model, str]]:
    shown: list[tuple[Model, str]] = []
    for scale in dict.fromkeys(model.scale for model in evidence.models if model.run):
        rows: dict[tuple[str, str, str], list[Model]] = {}
        for model in evidence.models:
            if model.scale == scale and model.run and _value(model, key) is not None:
                rows.setdefault(model.row, []).append(model)
        if not rows:
            continue
        best = max(rows.values(), key=lambda models: sum(_value(model, key) or 0.0 for model in models) / len(models))
        shown.append((best[0], "best method of the scale on this task"))
        clip = [models[0] for models in rows.values() if models[0].run and models[0].run.objective == "clip"]
        shown += [(clip[0], "baseline")] if clip and clip[0] is not best[0] else []
    return shown


def _value(model: Model, key: str) -> float | None:
    return model.evaluations[key].value if key in model.evaluations else None


def _gallery(model: Model, why: str, key: str, names: Sequence[str]) -> tuple[Model, str, pd.DataFrame]:
    rows = pd.read_parquet(model.results / f"{key}.parquet", columns=["key", "label", "prediction", "correct"])
    chosen = pd.concat([_spread(rows[rows["correct"]]), _spread(rows[~rows["correct"]])])
    named = {column: [names[int(number)] for number in chosen[column]] for column in ("label", "prediction")}
    return model, why, chosen.assign(**named)


def _spread(rows: pd.DataFrame) -> pd.DataFrame:
    """A few rows, evenly over the set: neighbors are often of one class."""
    count = min(EACH, len(rows))
    return rows.iloc[[index * len(rows) // count for index in range(count)]]


def _filled(model: Model, why: str, rows: pd.DataFrame, sources: dict[str, Markup | None]) -> Gallery:
    pictures = [
        Picture(source, str(label), str(prediction))
        for key, label, prediction in rows[["key", "label", "prediction"]].itertuples(index=False)
        if (source := sources.get(key)) is not None
    ]
    right = [picture for picture in pictures if picture.is_right]
    return Gallery(model, why, right, [picture for picture in pictures if not picture.is_right])


def _source(data: bytes) -> Markup | None:
    """The picture as an address; None for what is no picture, or too large for the page."""
    kind = next((kind for start, kind in TYPES.items() if data.startswith(start)), None)
    if kind is None or len(data) > MOST_BYTES:
        return None
    return Markup(f"data:image/{kind};base64,{base64.b64encode(data).decode()}")


def licenses(evidence: Evidence, task: Task) -> list[tuple[str, str]]:
    """(package or set, license) of the drawings behind a task's pictures; none if they are not known."""
    folder = evidence.results / "corpora" / str(task.source.corpus) / "artwork"
    if not may_show(task):
        return []
    if task.source.kind == "icons":
        sets = read_or_note(SetsRecord.read, folder / SETS, evidence.trouble)
        return [(f"{one.title} ({one.author})", one.license) for one in (sets.sets if sets else []) if one.heldout]
    if (record := read_or_note(PackagesRecord.read, folder / PACKAGES, evidence.trouble)) is None:
        return []
    entries = record.root
    roles = ("sketches",) if task.source.builder == "quickdraw" else ("style", "heldout_style")
    return [(f"{entry.package} {entry.version}", entry.license) for entry in entries if entry.role in roles]
