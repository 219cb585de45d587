"""House rules of the workflow's files."""

from __future__ import annotations

import re

import pytest

from tests.helpers import REPOSITORY

RULES = REPOSITORY / "workflow/rules"
BLOCKS = {
    match.group(1): match.group(0)
    for path in sorted(RULES.glob("*.smk"))
    if path.name != "targets.smk"  # names for files that other rules make
    for match in re.finditer(r"^rule (\w+):\n(?:(?: .*)?\n)+", path.read_text(), re.MULTILINE)
}


def test_all_rules_are_found():
    assert {"artwork", "urls", "download", "shards", "tasks", "train", "evaluate", "table", "figure"} <= set(BLOCKS)


@pytest.mark.parametrize("name", BLOCKS)
def test_every_rule_is_documented_logged_and_measured(name):
    block = BLOCKS[name]
    assert re.match(rf'rule {name}:\n    """\S', block)
    for part in ("log", "benchmark", "conda", "output", "shell", "resources"):
        assert re.search(rf"^    {part}:", block, re.MULTILINE), part


@pytest.mark.parametrize("name", BLOCKS)
def test_a_rule_calls_one_command(name):
    """Training and metric code lives in the package."""
    shell = BLOCKS[name].partition("    shell:\n")[2]
    assert len(re.findall(r"\bamorlip (?!.*\bamorlip )|\bsnakemake --", shell)) == 1
    assert "\n    run:" not in BLOCKS[name] and "\n    script:" not in BLOCKS[name]
