"""File deleted → what runs again: real dry runs of a finished study."""

from __future__ import annotations

import pytest

from tests.workflow.test_reruns import SHOWN, restored

pytestmark = pytest.mark.workflow

CORPUS, RUN, EVALUATION = "corpora/demo", "demo/runs/demo/clip-seed0", "demo/evaluations/demo/clip-seed0"
REPORTS = {"report": 1, "study_report": 1}
TRAINED = {"train": 2, "evaluate": 2, **SHOWN}
PAIRS = {"download": 1, "shards": 1, **TRAINED}
OPENMOJI = {"tasks": 1, "evaluate": 2, **SHOWN}
# Snakemake runs the jobs after a repeated job even if it makes the same file as before.
TABLE = [
    (f"{CORPUS}/artwork/pictures.parquet", {"artwork": 1, "urls": 1, "tasks": 9, **PAIRS}),
    (f"{CORPUS}/artwork/pictures/a.png", {"artwork": 1, "urls": 1, "tasks": 9, **PAIRS}),
    (f"{CORPUS}/urls.parquet", {"urls": 1, **PAIRS}),
    (f"{CORPUS}/train/download.json", PAIRS),
    (f"{CORPUS}/train/00000.tar", PAIRS),
    (f"{CORPUS}/train/manifest.json", {"shards": 1, **TRAINED}),
    (f"{CORPUS}/train/index.parquet", {"shards": 1, **TRAINED}),
    # the task of the epochs: Snakemake also trains again, since an input was missing
    ("tasks/openmoji/task.json", {"tasks": 1, **TRAINED}),
    ("tasks/digits/task.json", OPENMOJI),
    ("tasks/openmoji/test/0.tar", OPENMOJI),
    *[(f"{RUN}/{name}", {"train": 1, "evaluate": 1, **SHOWN})
      for name in ("model.safetensors", "metrics.jsonl", "run.yaml", "provenance.json")],
    (f"{EVALUATION}/openmoji.json", {"evaluate": 1, **SHOWN}),
    (f"{EVALUATION}/openmoji.parquet", {"evaluate": 1, **SHOWN}),
    ("demo/tables/table1.csv", {"table": 1, **REPORTS}),
    ("demo/tables/table1.tex", {"table": 1, **REPORTS}),
    ("demo/figures/training_curves.pdf", {"figure": 1, **REPORTS}),
    ("demo/config.yaml", {"study_config": 1, **REPORTS}),
    ("demo/report.html", {"report": 1}),
    ("demo/study.html", {"study_report": 1}),
    # Not results, so their absence is no request.
    ("demo/logs/train/demo/clip-seed0.log", {}),
    ("demo/timings/train/demo/clip-seed0.tsv", {}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "rules"), TABLE, ids=[path for path, _ in TABLE])
def test_a_deleted_file_is_made_again(finished, path, rules):
    deleted = finished.folder / "results" / path
    with restored(deleted):
        deleted.unlink()
        assert finished.planned() == rules


def test_a_deleted_shard_is_made_again_once(finished, tmp_path):
    """The next call finds it, and has nothing to do."""
    study = finished.copy(tmp_path / "copy")
    for path in ("corpora/demo/train/00000.tar", "tasks/openmoji/test/0.tar"):
        (study.folder / "results" / path).unlink()
    study.snakemake("--quiet")
    assert (study.folder / "results/corpora/demo/train/00000.tar").is_file()
    assert (study.folder / "results/tasks/openmoji/test/0.tar").is_file()
    assert study.planned() == {}
