"""`amorlip pin`: what was fetched goes into the configuration; after that, a changed source is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from amorlip import pins, stage_settings
from amorlip.common import hub
from amorlip.common.errors import AmorlipError
from amorlip.config.corpus import Corpus, UrlSource
from amorlip.config.load import merge
from amorlip.corpus.manifest import build_manifest
from amorlip.corpus.urls import write_urls
from amorlip.stages import tasks
from amorlip.study import Study, load_study, settings_file
from tests.helpers import REPOSITORY
from tests.helpers.miniatures import pair, write_tar
from tests.helpers.set_layouts import classification, pictures

COMMIT = "0123456789" * 4
CORPUS = """\
title: Birds
source: {source}
urls:
  train:  # a list of ours
    url: {url}
    columns: [url, caption]
  validation_fraction: 0.1
mirror: {{repository: owner/birds, train: "*.tar", validation: "v*.tar"}}  # their shards
"""
BENCHMARK = """\
title: Sets
tasks:
  birds:
    title: Birds
    kind: classification
    main_metric: acc1
    source: {kind: hub, repository: owner/set}  # the set
  gated:
    title: Gated
    kind: classification
    main_metric: acc1
    source: {kind: hub, repository: owner/gated}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A configuration with a list, and a set of a hub; the working directory is its parent."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    (tmp_path / "list.tsv").write_text("".join(f"http://x/{n}.png\tbird {n}\n" for n in range(20)))
    write_corpus(tmp_path, "urls")
    (tmp_path / "config/benchmarks/sets.yaml").write_text(BENCHMARK)
    return tmp_path


def write_corpus(folder: Path, source: str) -> None:
    text = CORPUS.format(source=source, url=(folder / "list.tsv").as_uri())
    (folder / "config/corpora/birds.yaml").write_text(text)


def study_of(folder: Path) -> Study:
    selection = yaml.safe_load((folder / "config/config.yaml").read_text())
    changes = {"benchmark": "sets", "experiments": ["table1"], "allow_missing_tasks": True}
    scale = {"recipe": {"corpus": "birds", "epoch_tasks": []}}
    return load_study(merge(selection, {**changes, "overrides": {"scales": {"demo": scale}}}), folder / "config")


def settings_of(study: Study, stage: str) -> tuple[str, dict]:
    """The name and the content of the file that hands the stage its settings."""
    task = stage == "tasks"
    settings = getattr(stage_settings, stage)(study, "birds")
    pinned = (stage_settings.pins_of_task if task else stage_settings.pins_of_corpus)(study, "birds")
    path = settings_file(stage, settings, Path("settings"), pinned)
    return path.name, json.loads(path.read_text())


def fetch_list(study: Study) -> None:
    write_urls(
        UrlSource.model_validate(settings_of(study, "urls")[1]["urls"]), Path("results/corpora/birds/urls.parquet")
    )


def fetch_set(study: Study, monkeypatch, asked: list[str], names=("a", "b", "c")) -> None:
    def download(repository, revision, output, patterns):
        asked.append(revision)
        classification(output, pictures(3), [0, 1, 2], list(names), ["{c}"])
        return COMMIT

    monkeypatch.setattr(hub, "download", download)
    shutil.rmtree("results/tasks/birds", ignore_errors=True)
    tasks.run(settings_of(study, "tasks")[1], None, Path("results/tasks/birds"), False)


def test_what_was_fetched_is_pinned_and_a_change_is_refused(folder, monkeypatch):
    asked: list[str] = []
    study = study_of(folder)
    lines = pins.pin(study, Path("results"))
    assert len(lines) == 3 and all("not fetched yet" in line for line in lines)
    fetch_list(study)
    fetch_set(study, monkeypatch, asked)
    before = {stage: settings_of(study, stage)[0] for stage in ("urls", "download", "shards", "tasks")}
    lines = pins.pin(study, Path("results"))
    assert (
        "config/corpora/birds.yaml: 1 keys written" in lines and "config/benchmarks/sets.yaml: 2 keys written" in lines
    )

    study = study_of(folder)
    assert study.benchmark.tasks["birds"].source.commit == COMMIT
    assert "# the set" in (folder / "config/benchmarks/sets.yaml").read_text()
    # No job runs again because of a pin.
    assert before == {stage: settings_of(study, stage)[0] for stage in before}
    assert all("keys written" not in line for line in pins.pin(study, Path("results")))

    fetch_list(study)
    fetch_set(study, monkeypatch, asked)
    assert asked == ["main", COMMIT]
    with pytest.raises(AmorlipError, match=r"tasks/birds: the files of owner/set have the checksum .* is pinned"):
        fetch_set(study, monkeypatch, asked, names=("a", "b", "x"))
    assert not Path("results/tasks/birds/task.json").exists()
    (folder / "list.tsv").write_text("http://y/1.png\tanother\n")
    with pytest.raises(AmorlipError, match=r"list.tsv has the checksum .* is pinned; to accept it, delete"):
        fetch_list(study)


def test_another_pin_is_not_replaced(folder):
    study = study_of(folder)
    fetch_list(study)
    pins.pin(study, Path("results"))
    (folder / "list.tsv").write_text("http://y/1.png\tanother\n")
    fetch_list(study)  # with the settings of before
    with pytest.raises(AmorlipError, match=r"birds.yaml: urls.train.sha256 is .*, but what was fetched has"):
        pins.pin(study_of(folder), Path("results"))


def mirror_split(name: str, commit: str, shards: dict[str, list[int]]) -> Path:
    split = Path("results/corpora/birds") / name
    for shard, numbers in shards.items():
        write_tar(split / shard, [(str(number), pair(number)) for number in numbers])
    record = {
        "source": "mirror",
        "split": name,
        "revision": commit,
        "requested": None,
        "downloaded": None,
        "failed": {},
    }
    (split / "download.json").write_text(json.dumps({**record, "shards": sorted(shards)}))
    return split


def test_a_mirror(folder):
    write_corpus(folder, "mirror")
    study = study_of(folder)
    splits = {
        "train": mirror_split("train", COMMIT, {"0.tar": [0, 1]}),
        "validation": mirror_split("validation", COMMIT, {"v0.tar": [2]}),
    }

    def check(name: str) -> None:
        corpus = Corpus.model_validate({"title": "", **settings_of(study, "shards")[1]})
        build_manifest("birds", corpus, name, splits[name])

    for name in splits:
        check(name)
    pins.pin(study, Path("results"))
    study = study_of(folder)
    mirror = study.corpora["birds"].mirror
    assert (
        mirror is not None and mirror.commit == COMMIT and None not in (mirror.train_sha256, mirror.validation_sha256)
    )
    for name in splits:
        check(name)
    mirror_split("train", COMMIT, {"0.tar": [0, 9]})
    with pytest.raises(AmorlipError, match=r"shards of owner/birds have the checksum .* the key mirror.train_sha"):
        check("train")
    assert not (splits["train"] / "manifest.json").exists()
    mirror_split("train", "f" * 40, {"0.tar": [0, 1]})
    check("train")
    with pytest.raises(AmorlipError, match="train and validation are of different commits"):
        pins.pin(study, Path("results"))
