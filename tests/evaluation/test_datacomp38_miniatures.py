"""A miniature of each of the 38 sets goes the whole way: from a hub to one average."""

from __future__ import annotations

import json

import pytest

from amorlip.common.errors import AmorlipError, NotAvailable
from amorlip.config.benchmark import Benchmark
from amorlip.evaluation import score
from amorlip.evaluation.aggregate import averages
from amorlip.tasks.provide import provide
from amorlip.tasks.record import missing
from tests.helpers import mini_sets
from tests.helpers.hub import COMMIT, Hub


@pytest.fixture(scope="module")
def benchmark() -> Benchmark:
    return mini_sets.datacomp38()


@pytest.fixture
def hub(monkeypatch):
    made = Hub()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", made.url)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    yield made
    made.close()


@pytest.fixture
def published(hub, benchmark, tmp_path):
    """Miniatures of all sets on the hub, with the other files such repositories have; and the tasks, as small."""
    small = {}
    for key, task in benchmark.tasks.items():
        folder = tmp_path / "published" / key
        mini_sets.write(key, task, folder)
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        hub.repositories[task.source.repository] = {"README.md": b"", "loader.py": b"", ".gitattributes": b"", **files}
        small[key] = task.model_copy(update={"samples": mini_sets.SAMPLES, "classes": mini_sets.classes(task)})
    return small


def test_38_sets_and_one_average(encoder, hub, published, benchmark, tmp_path):
    values = {}
    for key, task in published.items():
        folder = tmp_path / "tasks" / key
        provide(task.source, folder)
        assert json.loads((folder / "task.json").read_text())["source"]["revision"] == COMMIT
        assert not [path for path in folder.rglob("*") if path.suffix in (".py", ".md", ".zip")]
        result = score.evaluate(encoder, task, folder)
        assert result.main_metric == benchmark.tasks[key].main_metric and 0 <= result.value <= 1
        assert (result.groups is not None) == (task.kind == "classification_grouped")
        values[key] = result.value
    result = averages(benchmark, values)
    assert len(values) == 38
    assert result["average_38"] == pytest.approx(sum(values.values()) / 38)
    values.pop("fmow")
    assert averages(benchmark, values)["average_38"] is None


def test_gated_sets_are_left_out_and_the_others_go_on(hub, published, benchmark, tmp_path, capsys):
    gated = [published[key].source.repository for key in ("imagenet1k", "winogavil")]
    hub.gated.update(gated)
    for key in ("imagenet1k", "dtd", "winogavil"):
        provide(published[key].source, tmp_path / key, allow_missing=True)
    assert [missing(tmp_path / key) is None for key in ("imagenet1k", "dtd", "winogavil")] == [
        False,
        True,
        False,
    ]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out: ")]
    assert len(lines) == 2 and all(name in line and "gated" in line for name, line in zip(gated, lines, strict=True))
    with pytest.raises(NotAvailable):
        provide(published["imagenet1k"].source, tmp_path / "imagenet1k")


def test_a_set_of_another_size_is_no_part_of_it(encoder, hub, published, tmp_path):
    task = published["imagenetv2"].model_copy(update={"samples": mini_sets.SAMPLES + 1})
    provide(task.source, tmp_path / "short")
    with pytest.raises(AmorlipError, match="12 samples, the benchmark expects 13"):
        score.evaluate(encoder, task, tmp_path / "short")
