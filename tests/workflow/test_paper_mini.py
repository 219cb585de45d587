"""`config/paper-mini.yaml`: the paper's jobs at a size that runs here, from lists of addresses to every table."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.config.load import merged
from amorlip.study import Study, load_study, top_level_layers
from tests.helpers import REPOSITORY, paper_mini
from tests.helpers.dry_runs import snakemake
from tests.helpers.watched import alone
from tests.workflow.conftest import planned_jobs
from tests.workflow.test_paper_jobs import FROZEN

CONFIG = REPOSITORY / "config"
MINI = CONFIG / "paper-mini.yaml"
COMMAND = ["--snakefile", str(REPOSITORY / "workflow/Snakefile"), "--configfile", str(MINI)]
MAY_DIFFER = [
    r"selection\.(name|overrides)",
    r"scales\.\w+\.title",
    r"scales\.\w+\.recipe\.(model|batch_size|epochs|threads_per_rank|log_every_steps)",
    r"scales\.\w+\.recipe\.(schedule\.warmup_steps|loader\.workers)",
    r"scales\.\w+\.evaluation\.batch_size",
    r"scales\.\w+\.(train|evaluate)_resources\.(cpus|gpus|mem_mb|workers)",
    r"corpora\.\w+\.(title|samples_per_shard|published_pairs|image\.image_size|download\.(processes|threads|retries))",
    r"corpora\.\w+\.urls\.(train|validation)\.url",
    r"benchmark\.title",
    r"benchmark\.tasks\.[\w-]+\.(samples|classes|random_score|source\.\w+)",
]
"""Keys of sizes, titles and sources."""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with the data."""
    folder = tmp_path_factory.mktemp("paper_mini")
    paper_mini.write_data(folder / "data")
    return folder


@pytest.fixture
def data(made: Path, monkeypatch) -> Path:
    """The same folder, which is the working directory."""
    monkeypatch.chdir(made)
    return made


def load(name: str) -> Study:
    """A shipped study."""
    layers = top_level_layers([CONFIG / name], CONFIG)
    return load_study(merged(layers), CONFIG, layers=layers)


def keys(study: Study) -> dict[str, Any]:
    """Key, with what it is nested in → value."""
    sections: dict[str, Any] = {"selection": study.selection, "benchmark": study.benchmark}
    for kind in ("scales", "methods", "corpora", "experiments"):
        sections |= {f"{kind}.{name}": section for name, section in getattr(study, kind).items()}
    found: dict[str, Any] = {}

    def add(name: str, value: Any) -> None:
        if isinstance(value, dict) and not name.endswith(".overrides"):
            for key, below in value.items():
                add(f"{name}.{key}", below)
        else:
            found[name] = value

    for name, section in sections.items():
        add(name, section.model_dump())
    return found


def test_only_sizes_titles_and_sources_differ(data):
    paper, mini = keys(load("paper.yaml")), keys(load("paper-mini.yaml"))
    different = [key for key in paper.keys() | mini.keys() if paper.get(key, ...) != mini.get(key, ...)]
    assert not [key for key in different if not any(re.fullmatch(pattern, key) for pattern in MAY_DIFFER)]


def test_no_source_is_on_the_internet(data):
    mini = load("paper-mini.yaml")
    assert {task.source.kind for task in mini.benchmark.tasks.values()} == {"folder"}
    lists = [given for corpus in mini.corpora.values() for given in (corpus.urls.train, corpus.urls.validation)]
    assert all(given.url.startswith("file:") for given in lists if given)
    addresses = [path.read_text() for path in (data / "data").glob("*/*.tsv")]
    assert len(addresses) == 3 and not any("http" in text for text in addresses)


def test_without_its_data_nothing_runs(tmp_path, monkeypatch):
    """So it cannot spoil results/ of the real paper, whose corpora and tasks have the same names."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AmorlipError, match=r"paper-mini.yaml, line \d+: .*no file 'data/cc\w+/train.tsv'"):
        load("paper-mini.yaml")


def test_data_that_is_there_stays(tmp_path, capsys):
    (tmp_path / "mine.tsv").touch()
    paper_mini.write_data(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.tsv"]
    assert "is there already" in capsys.readouterr().out


@pytest.mark.workflow
def test_jobs_are_those_of_the_paper(data):
    code, output = snakemake([*COMMAND, "-n"], data, os.environ)
    assert code == 0, output
    paper: Counter[str] = Counter()
    with FROZEN.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            paper[row["rule"]] += int(row["jobs"])
    assert planned_jobs(output) == paper


@pytest.mark.slow
@pytest.mark.workflow
@pytest.mark.timeout(3600)
def test_from_lists_to_every_table(data, monkeypatch):
    """All of it, where nothing but the loopback interface can be reached."""
    # At every start, Snakemake's plugin runs Slurm's client where there is one, which looks for a controller.
    monkeypatch.setenv("SLURM_CONF", "/dev/null")
    told = alone(data, ["snakemake", *COMMAND], skip=False)
    assert (told["code"], told["attempts"], told["unroutable"]) == (0, [], 0), told
    results = data / "results/paper_mini"
    study = load("paper-mini.yaml")
    runs = [f"{run.scale}/{run.name}" for _, run in study.runs]
    tasks = list(study.benchmark.tasks)
    assert (len(runs), len(tasks)) == (14, 38)
    for run in runs:
        assert (results / "runs" / run / "model.safetensors").is_file()
        values = [json.loads((results / "evaluations" / run / f"{task}.json").read_text())["value"] for task in tasks]
        assert all(0 <= value <= 1 for value in values)
    for name, experiment in study.experiments.items():
        endings = ("csv", "md", "tex", "html") if experiment.kind == "table" else ("png", "pdf")
        assert all((results / f"{experiment.kind}s/{name}.{ending}").stat().st_size > 100 for ending in endings)
    assert (results / "report.html").stat().st_size > 100_000
    report = (results / "study.html").read_text(encoding="utf-8")
    assert "This study is not finished" not in report and str(data) not in report
    assert all(f'id="run/{run}"' in report for run in runs) and all(f'id="task/{task}"' in report for task in tasks)
    with (results / "tables/table1.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if all(row[task] for task in tasks)]
    assert Counter(row["scale"] for row in rows) == {"medium": 7, "large": 7}
    assert all(row["average_38"] for row in rows)
    for name in study.corpora:
        counts = json.loads((data / f"results/corpora/{name}/train/manifest.json").read_text())
        # CC12M sets pairs aside by a hash of the address
        listed = pq.read_table(data / f"results/corpora/{name}/urls.parquet", columns=["url", "split"]).to_pylist()
        paths = [row["url"].removeprefix("file:") for row in listed if row["split"] == "train"]
        assert all(path.startswith("data/") for path in paths), "an address names a folder of this machine"
        alive = sum((data / path).is_file() for path in paths)
        assert (counts["requested"], counts["downloaded"], counts["samples"]) == (len(paths), alive, alive)
        assert len(paths) > 80
        assert alive > 60
