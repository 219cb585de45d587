"""Files that a user gives by path: when one changes, what depends on it runs again."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.workflow.conftest import Study

pytestmark = pytest.mark.workflow

SHOWN = {"table": 1, "figure": 3, "report": 1, "study_report": 1}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished study of a list, a folder and a file of weights."""
    made = Study(tmp_path_factory.mktemp("own"))
    mine = made.folder / "mine"
    (mine / "birds/test").mkdir(parents=True)
    (mine / "birds/test/0.tar").write_bytes(b"images")
    (mine / "birds/test/nshards.txt").write_text("1")
    for name in ("classnames.txt", "zeroshot_classification_templates.txt"):
        (mine / "birds" / name).write_text("a\n")
    (mine / "list one.tsv").write_text("file:///a.png\ta\n" * 1000)
    (mine / "weights.pt").write_bytes(b"weights")
    made.snakemake("--quiet", **changes(made))
    assert made.planned(**changes(made)) == {}
    return made


def changes(study):
    address = (study.folder / "mine/list one.tsv").as_uri()
    corpus = {"source": "urls", "urls": {"train": {"url": address, "columns": ["url", "caption"]}}}
    source = {"kind": "folder", "path": str(study.folder / "mine/birds")}
    birds = {"title": "Birds", "kind": "classification", "main_metric": "acc1", "source": source}
    weights = {"title": "Mine", "model": "demo", "pretrained": str(study.folder / "mine/weights.pt")}
    return {
        "external_models": {"mine": weights},
        "overrides": {
            "scales": {"demo": {"recipe": {"corpus": "cc3m"}}},
            "corpora": {"cc3m": corpus},
            "benchmarks": {"demo": {"tasks": {"birds": birds}}},
        },
    }


def later(path, content):
    path.write_bytes(content)
    after = path.stat().st_mtime + 5
    os.utime(path, (after, after))


CHANGED = [
    ("list one.tsv", {"urls": 1, "download": 1, "shards": 1, "train": 2, "evaluate": 2, **SHOWN}),
    ("weights.pt", {"evaluate_external": 1, "table": 1, "report": 1, "study_report": 1}),
    ("birds/test/0.tar", {"tasks": 1, "evaluate": 2, "evaluate_external": 1, **SHOWN}),
    ("birds/classnames.txt", {"tasks": 1, "evaluate": 2, "evaluate_external": 1, **SHOWN}),
    ("birds/.DS_Store", {}),
]


@pytest.mark.parametrize(("name", "rules"), CHANGED, ids=[name for name, _ in CHANGED])
def test_a_changed_file_reruns_what_depends_on_it(study, name, rules):
    path, kept = study.folder / "mine" / name, study.folder / "kept"
    if path.exists():
        shutil.copy2(path, kept)
    later(path, b"file:///b.png\tb\n" * 1000)
    try:
        assert study.planned(**changes(study)) == rules
    finally:
        path.unlink()
        if kept.exists():
            kept.replace(path)
    assert study.planned(**changes(study)) == {}
