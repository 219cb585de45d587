"""Stand-in scores: the published ones, and for tasks that no paper prints made-up ones that fit the published means."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from amorlip.common.stable_hash import stable_int
from amorlip.config.benchmark import Benchmark
from amorlip.reporting.published import read_published
from amorlip.reporting.runs import RowKey

MAIN, ABLATIONS = "table1", ("table2a", "table2b", "table3")
RETRIEVAL = "retrieval_of_tables_2_and_3"
"""Column of the ablations' files whose tasks the paper does not name."""
THREE, TWO = "retrieval_three_tasks", "retrieval_two_tasks"
BASELINE = "clip"
"""Its scores are the base of those of methods that the paper lacks."""
SPREAD = 0.03
"""Of made-up scores, relative."""


@dataclass
class StandIn:
    """The scores of one row."""

    tasks: dict[str, float]
    """Task → fraction."""
    published: dict[str, float] = field(default_factory=dict)
    """Task or average → fraction, as printed; all others are made up."""


def read(folder: Path, benchmark: Benchmark) -> dict[RowKey, dict[str, float]]:
    """Everything that the paper's tables print for each row: task or average → fraction."""
    columns = [*benchmark.tasks, *benchmark.averages, RETRIEVAL]
    found = read_published(folder / f"{MAIN}.csv", columns)
    for name in ABLATIONS:
        for row, printed in read_published(folder / f"{name}.csv", columns).items():
            # the notes of these tables say why: CLIP's is the mean of two tasks, AmorLIP's probably of three
            key = TWO if row[1] == "clip" else THREE
            named = {key if column == RETRIEVAL else column: value for column, value in printed.items()}
            found[row] = {**named, **found.get(row, {})}
    return found


def stand_in(row: RowKey, printed: dict[RowKey, dict[str, float]], benchmark: Benchmark) -> StandIn:
    """Scores of `row` on every task, whose means are the published ones where there are any."""
    known = printed.get(row, {})
    like = (row[0], row[1], "")
    if row == like and not known:  # a method that the paper lacks
        like = (row[0], BASELINE, "")
    base = stand_in(like, printed, benchmark).tasks if row != like else {}
    rng = np.random.default_rng(stable_int(*row))
    tasks = {}
    for task in benchmark.tasks:
        # a task has about the same difficulty for all methods
        usual = 0.1 + 0.5 * np.random.default_rng(stable_int(task)).random()
        tasks[task] = float(base.get(task, usual) * (1 + SPREAD * rng.normal()))
    tasks |= {task: value for task, value in known.items() if task in tasks}
    for average, value in _by_size(known, benchmark):
        members = benchmark.averages[average].tasks or list(benchmark.tasks)
        _fit(tasks, members, value, fixed=_settled(average, known, benchmark))
    return StandIn(tasks, known)


def _by_size(known: dict[str, float], benchmark: Benchmark) -> list[tuple[str, float]]:
    """The published averages, those of few tasks first: later ones leave the tasks of earlier ones as they are."""
    sizes = {name: len(average.tasks or benchmark.tasks) for name, average in benchmark.averages.items()}
    return sorted(((name, known[name]) for name in sizes if name in known), key=lambda item: sizes[item[0]])


def _settled(average: str, known: dict[str, float], benchmark: Benchmark) -> set[str]:
    """Tasks that must keep their scores: the published ones, and those of smaller published averages."""
    settled = {task for task in known if task in benchmark.tasks}
    for smaller, _ in _by_size(known, benchmark):
        if smaller == average:
            break
        settled |= set(benchmark.averages[smaller].tasks or [])
    return settled


def _fit(tasks: dict[str, float], members: list[str], mean: float, fixed: set[str]) -> None:
    """Scale the free members so that the mean of all is `mean`; nothing if all are fixed, which the mean must fit."""
    free = [task for task in members if task not in fixed]
    if free:
        needed = mean * len(members) - sum(tasks[task] for task in members if task in fixed)
        factor = needed / sum(tasks[task] for task in free)
        tasks.update({task: tasks[task] * factor for task in free})
