"""Table `paired_tests`: on how many tasks a method's predictions differ significantly from the baseline's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from amorlip.common.errors import AmorlipError, one_line, unknown_key
from amorlip.config.display import TableSettings
from amorlip.config.experiment import PairedTests
from amorlip.evaluation.record import Evaluation
from amorlip.reporting import significance
from amorlip.reporting.runs import ROW, RowKey, by_row, scale_titles, shown_run
from amorlip.reporting.table_layout import Block, Cell, Layout, Row, View

COLUMNS = {"compared": "Tasks compared", "better": "Better", "worse": "Worse", "alike": "No difference shown"}
"""Count → heading."""
FRAME = [*ROW, "task", "samples", "better", "worse", "p", "p_holm"]
"""Columns of the csv file; better and worse count samples."""
Answers = dict[tuple[RowKey, str], dict[int, pd.Series]]
"""Row and task → seed → whether each sample is correct, by its key."""


def paired_tests(name: str, settings: TableSettings, options: PairedTests) -> tuple[pd.DataFrame, Layout]:
    """One row per method and scale; the csv file has one per method, scale and task.

    A sample counts for the method that is right on it with more seeds. The two counts are compared by an exact sign
    test, which is McNemar's with one seed; p-values are corrected by Holm over all tasks and methods of a scale.
    """
    answers = _read(settings, _tasks(settings, options))
    frame = pd.DataFrame(_compare(settings, answers), columns=FRAME[:-1])
    frame["p_holm"] = np.nan
    for _, group in frame.groupby("scale"):
        frame.loc[group.index, "p_holm"] = significance.holm(group["p"].tolist())
    layout = Layout(
        name=name,
        title=settings.experiment.title,
        groups=[("Tasks", len(COLUMNS))],
        columns=list(COLUMNS.values()),
        metrics=["number"] * len(COLUMNS),
        views=[View(_blocks(settings, frame), _notes(settings))],
    )
    as_text = {column: [f"{value:.3g}" for value in frame[column]] for column in ("p", "p_holm")}
    return frame.assign(**as_text), layout


def _tasks(settings: TableSettings, options: PairedTests) -> list[str]:
    """Those with one answer per sample; the hits of retrieval are not independent within an image."""
    known = [name for name, task in settings.benchmark.tasks.items() if task.kind.startswith("classification")]
    for task in options.tasks or []:
        if task not in known:
            raise AmorlipError(f"options.tasks: {unknown_key(task, known, 'task of classification')}")
    return known if options.tasks is None else options.tasks


def _read(settings: TableSettings, tasks: list[str]) -> Answers:
    found: Answers = {}
    for path in settings.evaluations:
        evaluation = Evaluation.read(path)
        if evaluation.task not in tasks or evaluation.value is None:
            continue
        run = evaluation.run
        *row, seed = shown_run((run.scale, run.method, run.variant or "", run.seed), settings.runs, path)
        found.setdefault(((row[0], row[1], row[2]), evaluation.task), {})[seed] = _correct(path.with_suffix(".parquet"))
    return found


def _correct(path: Path) -> pd.Series:
    try:
        return pd.read_parquet(path, columns=["key", "correct"]).set_index("key")["correct"]
    except (OSError, ValueError, KeyError) as error:
        raise AmorlipError(f"{path}: no predictions of an evaluation: {one_line(error)}") from error


def _compare(settings: TableSettings, answers: Answers) -> list[tuple[str, str, str, str, int, int, int, float]]:
    found = []
    for (row, task), ours in answers.items():
        theirs = answers.get(((row[0], settings.experiment.baseline, ""), task), {})
        seeds = sorted(ours.keys() & theirs.keys())
        if not seeds or row[1:] == (settings.experiment.baseline, ""):
            continue
        for seed in seeds:
            if not ours[seed].index.equals(theirs[seed].index):
                raise AmorlipError(f"{task}: '{row[1]}' and the baseline were evaluated on different samples")
        more = sum(ours[seed].to_numpy(dtype=int) - theirs[seed].to_numpy(dtype=int) for seed in seeds)
        better, worse = int(np.sum(more > 0)), int(np.sum(more < 0))
        found.append((*row, task, len(ours[seeds[0]]), better, worse, significance.sign_test(better, worse)))
    return found


def _blocks(settings: TableSettings, frame: pd.DataFrame) -> list[Block]:
    blocks = []
    for scale, title in scale_titles(settings.runs).items():
        rows = []
        for key, group in by_row(settings.runs).items():
            tasks = frame[(frame[ROW] == list(key)).all(axis=1)]
            if key[0] == scale and len(tasks):
                clear = tasks["p_holm"] < significance.LEVEL
                better = int((clear & (tasks["better"] > tasks["worse"])).sum())
                worse = int(clear.sum()) - better
                counts = (len(tasks), better, worse, len(tasks) - better - worse)
                rows.append(Row(group[0].title, [Cell(str(count), value=count) for count in counts], key=key))
        blocks.append(Block(title, rows))
    return [block for block in blocks if block.rows]


def _notes(settings: TableSettings) -> list[str]:
    baseline = settings.experiment.baseline
    titles = {key[1:]: group[0].title for key, group in by_row(settings.runs).items()}
    return [
        f"Number of tasks on which a method is better or worse than {titles.get((baseline, ''), baseline)}.",
        "A sample counts for the method that is right on it with more of the seeds that both have. The counts are "
        "compared by an exact sign test, which is McNemar's with one seed.",
        f"Significant at {significance.LEVEL:.0%} after Holm's correction over all tasks and methods of a scale.",
        "The test is over samples: it says what these trained models do, and not what other seeds would do.",
        "Tasks of classification only. The csv file has the counts and p-values of each task.",
    ]
