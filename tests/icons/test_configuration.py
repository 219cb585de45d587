"""What the shipped study of icons says agrees with the demo and with NOTICE."""

from __future__ import annotations

import re

from amorlip.config.corpus import Corpus, IconSource
from amorlip.config.load import read_yaml, validate
from tests.helpers import REPOSITORY

CONFIG = REPOSITORY / "config"


def source() -> IconSource:
    path = CONFIG / "corpora" / "icons.yaml"
    icons = validate(Corpus, read_yaml(path), str(path)).icons
    assert icons is not None
    return icons


def test_the_notice_lists_the_sets_under_licenses_that_are_allowed():
    text = (REPOSITORY / "NOTICE").read_text()
    first = re.search(r"one package of icon sets, (\S+) (\S+) .*?These (\d+) of its", text, re.DOTALL)
    assert first is not None and first.groups()[:2] == (source().package, source().version)
    licenses = dict(re.findall(r"^  ([a-z0-9-]+) +(\S+) +\S.* \(.+\)$", text[first.end() :], re.MULTILINE))
    assert len(licenses) == int(first[3])
    assert set(licenses.values()) == set(source().licenses)
    assert set(source().heldout_sets) <= licenses.keys() and not set(source().excluded_sets) & licenses.keys()


def test_the_demos_tasks_are_those_of_the_demo():
    """They share results/tasks/ with it, so they must have the same sources."""
    small, demo = (read_yaml(CONFIG / "benchmarks" / f"{name}.yaml")["tasks"] for name in ("small", "demo"))
    assert demo.keys() <= small.keys()
    for name, task in demo.items():
        assert {**small[name], "title": ""} == {**task, "title": ""}


def test_both_batch_sizes_have_the_same_recipe():
    small, large = (read_yaml(CONFIG / "scales" / f"small_{batch}.yaml") for batch in (128, 512))
    for scale, batch in ((small, 128), (large, 512)):
        recipe = scale["recipe"]
        assert recipe.pop("batch_size") == batch and batch * recipe["schedule"].pop("warmup_steps") == 102400
        assert batch * recipe.pop("log_every_steps") == 25600
        recipe["optimizer"].pop("lr")
        scale.pop("title")
    assert small == large
