"""Every table and figure of the paper from stand-ins, through the code that real results go through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from amorlip import stage_settings
from amorlip.common import files
from amorlip.config.benchmark import Benchmark
from amorlip.config.display import FigureSettings, TableSettings
from amorlip.config.experiment import Comparison, GainOverBaseline, Reproduction, shows_cost
from amorlip.config.load import read_yaml, validate
from amorlip.config.run import Run
from amorlip.preview import result_files, scores
from amorlip.preview.scores import StandIn
from amorlip.reporting import figures, tables, views
from amorlip.reporting.evaluations import chosen_columns, column_title
from amorlip.reporting.runs import ROW, RowKey
from amorlip.study import Study, load_study

EXPERIMENTS = [
    "table1", "table2a", "table2b", "table3", "gain_over_clip", "difference_to_clip_l2log", "difference_to_clip_fdiv",
    "accuracy_over_epochs", "epochs_to_accuracy", "sweep_alpha", "sweep_beta", "reproduction", "training_curves",
    "from_clip_to_amorlip", "log_z_error", "accuracy_over_cost", "batch_size", "critical_difference", "paired_tests",
]  # fmt: skip
METHODS = ["clip", "siglip", "sogclr", "fastclip", "amorlip_fdiv", "amorlip_l2log"]
"""Without JS, of which the paper prints nothing of its own."""
SYNTHETIC, PRINTED = "synthetic", "published numbers"
README = """\
# Preview

Nothing here was measured. `amorlip preview` made these tables and figures from stand-ins, to show
what `config/paper.yaml` will make:

- the numbers that the paper prints, where it prints them; means are computed again from their tasks
- made-up numbers for the rest, the same in every preview. Those of unpublished tasks are scaled so that the average of
  38 tasks is the published one.

Figures with made-up numbers say "synthetic", the others "published numbers". Notes under tables name the made-up
columns, and so does the column `synthetic` of each csv file.
"""


def write(folder: Path, config: Path) -> list[Path]:
    """Write all tables and figures to `folder`, from the files in `config`; returns their paths."""
    study = load_study({**read_yaml(config / "paper.yaml"), "methods": METHODS, "experiments": EXPERIMENTS}, config)
    preview = _Preview(study, folder)
    files.write_text(folder / "README.md", README)
    return [path for name in study.experiments for path in preview.show(name)]


class _Preview:
    def __init__(self, study: Study, folder: Path) -> None:
        self.study, self.folder, self.paper = study, folder, study.folder / "paper"
        printed = scores.read(self.paper, study.benchmark)
        self.stand_ins: dict[RowKey, StandIn] = {}
        self.files: dict[tuple[str, str], dict[str, Any]] = {}
        for _, run in study.runs:
            row = result_files.row_of(run)
            found = self.stand_ins[row] = scores.stand_in(row, printed, study.benchmark)
            self.files[run.scale, run.name] = self._write(run, found)

    def _write(self, run: Run, found: StandIn) -> dict[str, Any]:
        benchmark, into = self.study.benchmark, self.folder / "stand_ins"
        return {
            "evaluations": result_files.evaluations(run, found, benchmark, into),
            "metrics": result_files.metrics(run, found, benchmark, into),
            "provenance": result_files.provenance(run, self.paper, into),
        }

    def show(self, name: str) -> list[Path]:
        """Write one table or figure."""
        experiment = self.study.experiments[name]
        written = [self.files[run.scale, run.name] for _, run in self.study.experiment_runs(name)]
        given: dict[str, Any] = {
            "evaluations": [str(path) for found in written for path in found["evaluations"]],
            "metrics": [str(found["metrics"]) for found in written],
            "published": self._paper_file(name, "published"),
        }
        if shows_cost(self.study.options[name]):
            given["provenance"] = [str(found["provenance"]) for found in written]
        if experiment.function == "paired_tests":
            self._predict(name)
        if experiment.kind == "figure":
            return self._figure(name, stage_settings.figure(self.study, name, **given))
        later = self._paper_file(name, "later_work")
        settings = stage_settings.table(self.study, name, manifests=[], later_work=later, **given)
        return self._table(name, settings)

    def _predict(self, name: str) -> None:
        """Write made-up predictions next to the evaluations of an experiment's runs."""
        for _, run in self.study.experiment_runs(name):
            tasks = self.study.benchmark.tasks
            for path in self.files[run.scale, run.name]["evaluations"]:
                if tasks[path.stem].kind.startswith("classification"):
                    result_files.predictions(path)

    def _paper_file(self, name: str, option: str) -> str | None:
        chosen = self.study.experiments[name].options.get(option)
        return str(self.paper / f"{chosen}.csv") if chosen else None

    def _figure(self, name: str, settings: dict[str, Any]) -> list[Path]:
        outputs = {form: self.folder / "figures" / f"{name}.{form}" for form in ("png", "pdf")}
        watermark = PRINTED if not self._made_up(name) else SYNTHETIC
        figures.draw(name, validate(FigureSettings, settings, name), outputs, watermark)
        return list(outputs.values())

    def _table(self, name: str, settings: dict[str, Any]) -> list[Path]:
        outputs = {form: self.folder / "tables" / f"{name}.{form}" for form in ("csv", "md", "tex", "html")}
        experiment, made_up = settings["experiment"], self._made_up(name)
        experiment["title"] += f" ({SYNTHETIC if made_up else 'preview'})"
        if experiment["function"] == "comparison":
            experiment["options"] = {
                **experiment["options"],
                "notes": [*experiment["options"].get("notes", []), *made_up],
            }
        tables.write(name, validate(TableSettings, settings, name), outputs)
        self._mark(outputs["csv"], everything=experiment["function"] != "comparison")
        return list(outputs.values())

    def _made_up(self, name: str) -> list[str]:
        """One sentence for the shown columns that are made up in the same rows, or one for everything."""
        options, benchmark = self.study.options[name], self.study.benchmark
        if isinstance(options, Reproduction):
            return []
        if not isinstance(options, Comparison | GainOverBaseline):
            return ["Synthetic: all of it."]
        titles = {result_files.row_of(run): title for title, run in self.study.experiment_runs(name)}
        columns: dict[str, list[str]] = {}
        for column in _columns(options, benchmark):
            rows = [title for row, title in titles.items() if not self._is_printed(row, column)]
            if rows:
                which = "all rows" if len(rows) == len(titles) else "; ".join(dict.fromkeys(rows))
                columns.setdefault(which, []).append(column_title(benchmark, column))
        return [f"Synthetic: {', '.join(names)} of {rows}." for rows, names in columns.items()]

    def _is_printed(self, row: RowKey, column: str) -> bool:
        return column in self.stand_ins[row].published

    def _mark(self, path: Path, *, everything: bool) -> None:
        """Add the column `synthetic` to a csv file: the made-up columns of each row."""
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        known = [*self.study.benchmark.tasks, *self.study.benchmark.averages]
        marks, views_of_rows = [], frame.get("view", pd.Series(views.OURS, frame.index))
        for row, view in zip(frame[ROW].itertuples(index=False), views_of_rows, strict=True):
            key = (row[0], row[1], row[2])
            names = known if key in self.stand_ins and view == views.OURS else []
            marks.append("all" if everything else " ".join(name for name in names if not self._is_printed(key, name)))
        files.write_text(path, frame.assign(synthetic=marks).to_csv(index=False, lineterminator="\n"))


def _columns(options: Comparison | GainOverBaseline, benchmark: Benchmark) -> list[str]:
    if isinstance(options, GainOverBaseline):
        return chosen_columns(benchmark, options.columns)
    return options.columns or [column for group in benchmark.columns for column in group.columns]
