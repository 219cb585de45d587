"""Averages of main metrics, as the benchmark's file defines them.

Tasks are averaged here and nowhere else. An average with a missing task has no value: a mean over the tasks that happen
to exist would compare different things under one name. DataComp's aggregation likewise requires all 38 tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config.benchmark import Benchmark


def averages(benchmark: Benchmark, values: Mapping[str, float | None]) -> dict[str, float | None]:
    """The benchmark's averages of one run: plain means of its tasks' main metrics.

    Args:
        benchmark: names the averages and their tasks; an average without a list takes all tasks.
        values: task → main metric, as a fraction; a task that is absent, None or NaN counts as missing.

    Returns:
        Average → mean in the same unit, in the benchmark's order; None where any of its tasks is missing.

    Raises:
        AmorlipError: if `values` names a task that the benchmark does not have.
    """
    for task in values:
        if task not in benchmark.tasks:
            raise AmorlipError(f"benchmark '{benchmark.title}': {unknown_key(task, benchmark.tasks, 'task')}")
    return {
        key: _mean([values.get(task) for task in (benchmark.tasks if average.tasks is None else average.tasks)])
        for key, average in benchmark.averages.items()
    }


def _mean(values: list[float | None]) -> float | None:
    present = [value for value in values if value is not None and not math.isnan(value)]
    return math.fsum(present) / len(present) if present and len(present) == len(values) else None
