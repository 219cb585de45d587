"""What each stage depends on: which keys change its settings, and which do not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from amorlip import stage_settings
from amorlip.config.load import merge, read_yaml
from amorlip.config.objectives import settings_type
from amorlip.study import Study, load_study
from tests.helpers import REPOSITORY

CONFIG = REPOSITORY / "config"
DEMO = yaml.safe_load((CONFIG / "config.yaml").read_text())
EXTERNAL = {"external_models": {"openai": {"title": "OpenAI", "model": "RN50", "pretrained": "openai"}}}
FILES = {"evaluations": ["a.json"], "metrics": ["metrics.jsonl"]}

CORPUS = {"urls", "download", "shards"}
TRAIN = {"train clip", "train amorlip_l2log"}
SHOWN = {"table", "figure"}


def load(**changes: Any) -> Study:
    return load_study(merge({**DEMO, **EXTERNAL}, changes), CONFIG, "config.yaml")


def settings(study: Study) -> dict[str, str]:
    """Stage (train: one for each method) → its settings, as they are written for its command."""
    found = {
        "artwork": stage_settings.artwork(study, "demo"),
        "urls": stage_settings.urls(study, "demo"),
        "download": stage_settings.download(study, "demo"),
        "shards": stage_settings.shards(study, "demo"),
        "tasks": stage_settings.tasks(study, "openmoji"),
        "evaluate": stage_settings.evaluate(study, "demo", ["openmoji", "digits"]),
        "evaluate_external": stage_settings.evaluate_external(study, "openai", ["openmoji"]),
        "table": stage_settings.table(study, "table1", **FILES, manifests=["m.json"], published=None),
        "figure": stage_settings.figure(study, "training_curves", **FILES),
        "study_config": stage_settings.study_config(study),
        **{f"train {run.method}": stage_settings.train(study, run.scale, run.name) for _, run in study.runs},
    }
    return {stage: json.dumps(value, sort_keys=True) for stage, value in found.items()}


def corpus(**keys: Any) -> dict[str, Any]:
    return {"overrides": {"corpora": {"demo": keys}}}


def scale(**keys: Any) -> dict[str, Any]:
    return {"overrides": {"scales": {"demo": keys}}}


def task(**keys: Any) -> dict[str, Any]:
    return {"overrides": {"benchmarks": {"demo": {"tasks": {"openmoji": keys}}}}}


CHANGES: list[tuple[str, dict[str, Any], set[str]]] = [
    ("nothing", {}, set()),
    ("corpus title", corpus(title="Other"), {"table"}),
    ("corpus download.threads", corpus(download={"threads": 5}), set()),
    ("corpus published_pairs", corpus(published_pairs=7), {"table"}),
    ("corpus emoji.heldout_names", corpus(emoji={"heldout_names": 0.2}), {"artwork", *CORPUS}),
    ("corpus image.encode_quality", corpus(image={"encode_quality": 3}), {"download", "shards"}),
    ("corpus samples_per_shard", corpus(samples_per_shard=99), {"download", "shards"}),
    ("corpus transparency", corpus(transparency="drop"), {"download", "shards"}),
    ("corpus min_yield", corpus(min_yield=0.4), {"shards"}),
    ("recipe epochs", scale(recipe={"epochs": 2}), TRAIN),
    ("recipe loader.workers", scale(recipe={"loader": {"workers": 3}}), set()),
    ("recipe loader.shuffle_window", scale(recipe={"loader": {"shuffle_window": 3}}), TRAIN),
    ("recipe checkpoint_every_steps", scale(recipe={"checkpoint_every_steps": 7}), set()),
    ("recipe device", scale(recipe={"device": "cpu"}), set()),
    ("evaluation device", scale(evaluation={"device": "cpu"}), set()),
    ("external device", {"external_models": {"openai": {"evaluation": {"device": "cpu"}}}}, set()),
    ("recipe checkpoint_every_minutes", scale(recipe={"checkpoint_every_minutes": 7}), set()),
    ("recipe epoch_tasks", scale(recipe={"epoch_tasks": ["digits"]}), TRAIN),
    ("settings", scale(methods={"amorlip_l2log": {"settings": {"beta_max": 0.7}}}), {"train amorlip_l2log"}),
    ("train_resources", scale(train_resources={"mem_mb": 999}), set()),
    ("evaluate_resources", scale(evaluate_resources={"mem_mb": 999}), set()),
    ("evaluation", scale(evaluation={"batch_size": 3}), {"evaluate"}),
    ("scale title", scale(title="Other"), SHOWN),
    ("method title", {"overrides": {"methods": {"clip": {"title": "Other"}}}}, SHOWN),
    ("task title", task(title="Other"), SHOWN),
    ("task random_score", task(random_score=0.5), SHOWN),
    ("task samples", task(samples=5), {"tasks", "evaluate", "evaluate_external", *TRAIN, *SHOWN}),
    ("task transparency", task(transparency="drop"), {"evaluate", "evaluate_external", *TRAIN, *SHOWN}),
    ("task source", task(source={"builder": "digits"}), {"tasks", *SHOWN}),
    ("caption", {"overrides": {"experiments": {"training_curves": {"caption": "Other."}}}}, {"figure"}),
    ("figures", {"figures": {"dpi": 90}}, {"figure"}),
    ("external title", {"external_models": {"openai": {"title": "Other"}}}, {"table"}),
    ("external evaluation", {"external_models": {"openai": {"evaluation": {"batch_size": 3}}}}, {"evaluate_external"}),
    ("external resources", {"external_models": {"openai": {"resources": {"cpus": 3}}}}, set()),
    ("allow_missing_tasks", {"allow_missing_tasks": True}, set()),
]


@pytest.mark.parametrize(("changes", "stages"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_a_key_changes_the_settings_of_the_stages_that_depend_on_it(changes: dict[str, Any], stages: set[str]) -> None:
    before, after = settings(load()), settings(load(**changes))
    changed = {stage for stage in before if before[stage] != after[stage]}
    assert changed == stages | ({"study_config"} if changes else set())


def test_private_addresses_change_settings_only_where_they_are_allowed() -> None:
    """So that corpora from before this key are not downloaded again."""

    def of(**keys: bool) -> dict[str, str]:
        lists = {"train": {"url": "https://x.org/list.tsv", "columns": ["url", "caption"]}, **keys}
        return {stage: value for stage, value in settings(load(**corpus(urls=lists))).items() if stage in CORPUS}

    before, refused, allowed = of(), of(allow_private_addresses=False), of(allow_private_addresses=True)
    assert before == refused and not any("allow_private_addresses" in value for value in before.values())
    assert all(allowed[stage] != before[stage] for stage in CORPUS)


def test_a_source_of_icons_is_no_part_of_other_corpora() -> None:
    """So that corpora from before there was this source are not made again."""
    found = settings(load())
    assert not any('"icons"' in found[stage] for stage in ("artwork", *CORPUS))


def test_the_settings_of_icons_tell_the_stage_their_source() -> None:
    pin = {"version": "1.0.0", "integrity": f"sha512-{'A' * 86}=="}
    icons = {**pin, "package": "icons", "licenses": ["MIT"], "heldout_sets": ["bi"]}
    changes = {"overrides": {"corpora": {"icons": {"icons": icons}}}}
    study = load_study({**read_yaml(CONFIG / "small.yaml"), **changes}, CONFIG, "small.yaml")
    found = stage_settings.artwork(study, "icons")
    assert found.keys() == {"icons"} and found["icons"]["heldout_sets"] == ["bi"]
    assert stage_settings.artwork(study, "demo") == stage_settings.artwork(load(), "demo")


def test_a_new_seed_changes_no_settings_of_a_run_that_is_there() -> None:
    before, after = load(), load(seeds=[0, 1])
    for _, run in before.runs:
        name = (run.scale, run.name)
        assert stage_settings.train(before, *name) == stage_settings.train(after, *name)


def test_the_files_that_are_shown_are_settings() -> None:
    study = load()
    files = {"manifests": ["m.json"], "published": "paper.csv"}
    shown = stage_settings.table(study, "table1", **FILES, **files)
    assert {key: shown[key] for key in (*FILES, *files)} == {**FILES, **files}
    assert stage_settings.figure(study, "training_curves", **FILES).items() >= FILES.items()


def test_runs_from_before_the_controls_are_not_trained_again():
    """Keys that only controls use are no part of another run's settings."""
    settings = settings_type("amorlip_l2log")
    assert {"estimator", "memory_pairs", "corpus_every_steps"} & settings().model_dump().keys() == set()
    assert "corpus_every_steps" not in settings(estimator="memory").model_dump()
    control = settings(estimator="batch_mean").model_dump()
    assert settings(**control) == settings(estimator="batch_mean") != settings()
