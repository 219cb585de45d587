"""Table `epochs_to_accuracy`: when one method reaches the final score of each other one, and stays ahead of it."""

from __future__ import annotations

import pandas as pd

from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config.display import TableSettings
from amorlip.config.experiment import EpochsToAccuracy
from amorlip.reporting.metric_names import short_name
from amorlip.reporting.runs import ROW, RowKey, by_row, scale_titles
from amorlip.reporting.table_layout import MISSING, Block, Cell, Layout, Row, View
from amorlip.reporting.training_metrics import over_seeds, read_training_metrics

COLUMNS = {"final": "Final score", "reached": "Reached in epoch", "epochs": "Of epochs", "ahead": "Ahead from epoch on"}
"""Column of the csv file → heading."""


def epochs_to_accuracy(name: str, settings: TableSettings, options: EpochsToAccuracy) -> tuple[pd.DataFrame, Layout]:
    """One block per scale, one row per other method; all scores are means over seeds."""
    epochs = read_training_metrics(settings.metrics, settings.runs).epochs
    task = _task(epochs, settings, options)
    metric = settings.benchmark.tasks[task].main_metric if task else ""
    curves = over_seeds(epochs[(epochs["task"] == task) & (epochs["metric"] == metric)], "epoch", "value")
    titles = {key: group[0].title for key, group in by_row(settings.runs).items()}
    followed = next((title for key, title in titles.items() if key[1:] == (options.method, "")), options.method)
    rows = {key: _compare(curves, key, options.method) for key in curves if key[1:] != (options.method, "")}
    blocks = [
        Block(title, [Row(titles[key], _cells(found), key=key) for key, found in rows.items() if key[0] == scale])
        for scale, title in scale_titles(settings.runs).items()
    ]
    shown = settings.benchmark.tasks[task].title if task else "no task"
    notes = [
        f"Final score: of the row's method after its last epoch, on {shown}, in percent; means over seeds.",
        f"Reached in epoch: the first one after which {followed} scores at least as much.",
        f"Ahead from epoch on: the first one after which {followed} is ahead at the end of every epoch.",
        f"{MISSING}: it is not.",
    ]
    layout = Layout(
        name=name,
        title=settings.experiment.title,
        groups=[("Other method", 1), (followed, 3)],
        columns=list(COLUMNS.values()),
        metrics=[f"{shown}, {short_name(metric)}" if task else "percent", "epoch", "number", "epoch"],
        views=[View([block for block in blocks if block.rows], notes)],
    )
    frame = pd.DataFrame([{**dict(zip(ROW, key, strict=True)), **found} for key, found in rows.items()])
    return frame.reindex(columns=[*ROW, *COLUMNS]), layout


def _task(epochs: pd.DataFrame, settings: TableSettings, options: EpochsToAccuracy) -> str | None:
    known = [task for task in settings.benchmark.tasks if task in set(epochs["task"])]
    if options.task is not None and options.task not in known:
        raise AmorlipError(f"options.task: {unknown_key(options.task, known, 'task evaluated after each epoch')}")
    return options.task or next(iter(known), None)


def _compare(curves: dict[RowKey, pd.DataFrame], other: RowKey, method: str) -> dict[str, float | None]:
    """Final score [%] of `other`; where the method reaches it, out of how many epochs, and where it stays ahead."""
    theirs = curves[other]["mean"].sort_index()
    final = float(theirs.iloc[-1])
    found: dict[str, float | None] = {"final": 100 * final, "reached": None, "epochs": None, "ahead": None}
    if (other[0], method, "") not in curves:
        return found
    ours = curves[other[0], method, ""]["mean"].sort_index()
    found["epochs"] = int(ours.index[-1])
    if (ours >= final).any():
        found["reached"] = int(ours.index[ours >= final][0])
    ahead = (ours > theirs).reindex(ours.index.intersection(theirs.index))
    if len(ahead) and bool(ahead.iloc[-1]):
        behind = ahead.index[~ahead]
        found["ahead"] = int(ahead.index[ahead.index > behind[-1]][0] if len(behind) else ahead.index[0])
    return found


def _cells(found: dict[str, float | None]) -> list[Cell]:
    final, *epochs = found.values()
    return [Cell(f"{final:.2f}"), *(Cell(MISSING if epoch is None else f"{epoch:.0f}") for epoch in epochs)]
