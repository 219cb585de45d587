"""The end of a study, on the terminal: its main table as text, where the report is, and how long it took."""

from __future__ import annotations

import csv
from datetime import timedelta
from pathlib import Path

from amorlip.study import Study


def summary(study: Study, results: Path, seconds: float) -> str:
    """What to print when a study has run to its end. `results` is the folder of all studies."""
    folder = results / study.selection.name
    tables = [name for name, experiment in study.experiments.items() if experiment.kind == "table"]
    lines = [""]
    if tables and (shown := table_text(study, folder / "tables" / f"{tables[0]}.csv")):
        lines += [f"{study.experiments[tables[0]].title} (percent)", "", *shown, ""]
    reports = {"Report": "study.html", "Snakemake's report": "report.html"}
    lines += [f"{what}: {folder / name}" for what, name in reports.items() if (folder / name).is_file()]
    return "\n".join([*lines, f"Time: {timedelta(seconds=round(seconds))}", ""])


def table_text(study: Study, path: Path) -> list[str]:
    """A table's csv file as lines of text: one line per column of the benchmark, since those are many."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("method") and row.get("view") in (None, "ours")]
    several = len({row.get("scale") for row in rows if row.get("scale")}) > 1
    heads = [" ".join(part for part in (row.get("scale") if several else "", row["method"], row.get("variant")) if part)
             for row in rows]  # fmt: skip
    titles = {key: named.title for key, named in [*study.benchmark.tasks.items(), *study.benchmark.averages.items()]}
    columns = [key for group in study.benchmark.columns for key in group.columns] or list(titles)
    cells = [[titles[key], *(_number(row.get(key)) for row in rows)] for key in columns if rows and key in rows[0]]
    widths = [max(map(len, column)) for column in zip(["", *heads], *cells, strict=True)] if cells else []
    lines = [["", *heads], *cells] if cells else []
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in lines]


def _number(text: str | None) -> str:
    return f"{float(text):.2f}" if text else ""
