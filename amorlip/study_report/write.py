"""Write the report: gather what there is, make the pages, and put everything into one file."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from amorlip import __version__
from amorlip.common import files
from amorlip.common.errors import AmorlipError
from amorlip.common.limits import read_file
from amorlip.config.experiment import Experiment
from amorlip.reporting.metric_names import metric_name
from amorlip.study import Study
from amorlip.study_report import evidence, pages
from amorlip.study_report.evidence import Evidence, Model
from amorlip.study_report.fragments import linked
from amorlip.study_report.overview import overview
from amorlip.study_report.private import shown

TEMPLATES = Path(__file__).parent / "templates"
REPORT, PARTIAL = "study.html", "study-partial.html"
"""Names of the report of a finished study, which a rule writes, and of one that is not finished."""


@dataclass(frozen=True)
class Shown:
    """A table or figure of the report."""

    name: str
    title: str
    caption: list[str]
    """Its paragraphs."""
    body: Markup | None
    """Its HTML, or a picture's address; None: not made yet."""
    error: str
    """Why it could not be made."""
    stale: bool
    """Whether there are newer results."""
    files: str
    models: list[Model]


def write(study: Study, results: Path, output: Path, *, partial: bool = False) -> Evidence:
    """Write the report of a study in the folder `results`; returns what it is made from.

    Raises AmorlipError if the study is not finished, unless `partial`.
    """
    found = evidence.gather(study, results)
    if found.unfinished and not partial:
        raise AmorlipError(
            f"{study.selection.name}: {len(found.unfinished)} of {len(found.jobs)} jobs are not done;"
            " --partial reports what there is"
        )
    files.write_text(output, render(found))
    return found


def render(found: Evidence) -> str:
    """The whole page."""
    study = found.study
    names = {key: pages.class_names(found, key) for key in study.benchmark.tasks}
    task_pages = [pages.task_page(found, key, names[key]) for key in study.benchmark.tasks]
    return _environment().get_template("report.html").render(
        name=study.selection.name,
        style=_verbatim("style.css"),
        script=_verbatim("script.js"),
        datatables=_datatables(),
        overview=overview(found),
        unfinished=len(found.unfinished),
        jobs=len(found.jobs),
        trouble=found.trouble,
        scales=[scale.title for scale in study.scales.values()],
        methods=list(dict.fromkeys(model.title for model in found.models if model.run)),
        seeds=study.selection.seeds,
        benchmark=study.benchmark,
        tasks=study.benchmark.tasks,
        models=found.models,
        shown_tables=_shown(found, "table"),
        shown_figures=_shown(found, "figure"),
        run_pages=[pages.run_page(found, model, names) for model in found.models],
        task_pages=task_pages,
        metric_name=metric_name,
        config_file=str(found.folder / "config.yaml"),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        version=__version__,
    )  # fmt: skip


@cache
def _environment() -> Environment:
    """Everything that a template prints is escaped, and text is freed of paths of this machine."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _verbatim(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def _datatables() -> Markup:
    """DataTables as the package itables ships it: one file that needs no network; see docs/decisions/."""
    package = find_spec("itables")  # not imported: that would load pandas
    if package is None or not package.submodule_search_locations:
        raise AmorlipError("the package itables is not installed; run make setup")
    text = (Path(package.submodule_search_locations[0]) / "html" / "dt_bundle.js").read_text(encoding="utf-8")
    return Markup(text.replace("</script", r"<\/script"))


# ---------------------------------------------------------------- tables and figures


def _shown(found: Evidence, kind: str) -> list[Shown]:
    experiments = found.study.experiments.items()
    return [_one(found, name, experiment) for name, experiment in experiments if experiment.kind == kind]


def _one(found: Evidence, name: str, experiment: Experiment) -> Shown:
    kind = experiment.kind
    path = found.folder / f"{kind}s" / f"{name}.{'html' if kind == 'table' else 'png'}"
    runs = {(run.scale, run.name) for _, run in found.study.experiment_runs(name)}
    models = [model for model in found.models if (model.scale, model.name) in runs]
    job = next(entry for entry in found.jobs if entry.job.rule == kind and entry.job.output.stem == name)
    try:
        content, stale = read_file(path), path.stat().st_mtime < _newest(models)
        body = _table(found, experiment.title, content) if kind == "table" else _figure(content)
    except (OSError, AmorlipError):
        body, stale = None, False
    paragraphs = [" ".join(part.split()) for part in experiment.caption.split("\n\n")]
    endings = {"table": "csv, md, tex, html", "figure": "png, pdf"}[kind]
    shown_files = f"{path.with_suffix('')}.{{{endings}}}"
    return Shown(name, experiment.title, paragraphs, body, job.error, stale, shown_files, models)


def _newest(models: list[Model]) -> float:
    """When the newest result of these runs was written."""
    written = (path.stat().st_mtime for model in models for path in model.results.glob("*.json"))
    return max(written, default=0.0)


def _table(found: Evidence, title: str, page: bytes) -> Markup:
    rows: dict[str, list[tuple[str, str]]] = {}
    for model in found.models:
        name = f"seed {model.run.seed}" if model.run else "run"
        rows.setdefault("/".join(model.row), []).append((name, model.id))
    titles = [task.title for task in found.study.benchmark.tasks.values()]
    columns = {
        task.title: f"task/{key}" for key, task in found.study.benchmark.tasks.items() if titles.count(task.title) == 1
    }
    return linked(page.decode("utf-8", errors="replace"), title, rows, columns)


def _figure(picture: bytes) -> Markup:
    return Markup(f"data:image/png;base64,{base64.b64encode(picture).decode()}")
