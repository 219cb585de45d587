"""Averages are plain means over complete lists of tasks, or nothing."""

from __future__ import annotations

import math

import pytest

from amorlip.common.errors import AmorlipError
from amorlip.config.benchmark import Average, Benchmark, Task, TaskSource
from amorlip.evaluation.aggregate import averages


def benchmark() -> Benchmark:
    def task(title: str) -> Task:
        source = TaskSource(kind="folder", path="nowhere")
        return Task(title=title, kind="classification", main_metric="acc1", source=source)

    return Benchmark(
        title="Three tasks",
        tasks={name: task(name) for name in ("a", "b", "c")},
        averages={"all": Average(title="All"), "pair": Average(title="Pair", tasks=["a", "c"])},
    )


def test_plain_means_in_the_benchmarks_order():
    result = averages(benchmark(), {"c": 0.3, "a": 0.1, "b": 0.8})
    assert list(result) == ["all", "pair"]
    assert result == pytest.approx({"all": 0.4, "pair": 0.2})


@pytest.mark.parametrize("missing", [{}, {"b": None}, {"b": math.nan}])
def test_no_average_over_missing_tasks(missing):
    result = averages(benchmark(), {"a": 0.1, "c": 0.3, **missing})
    assert result["all"] is None
    assert result["pair"] == pytest.approx(0.2)


def test_zero_is_a_value_and_nothing_gives_nothing():
    assert averages(benchmark(), {"a": 0.0, "c": 0.0})["pair"] == 0.0
    assert averages(benchmark(), {}) == {"all": None, "pair": None}


def test_an_unknown_task_is_named_with_the_nearest():
    with pytest.raises(AmorlipError, match="unknown task 'aa'; did you mean 'a'"):
        averages(benchmark(), {"aa": 0.5})
