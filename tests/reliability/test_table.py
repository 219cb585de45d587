"""The table of faults names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
NAMED = re.findall(r"`(\w+/test_\w+\.py)(?:::(\w+))?`", (TESTS.parent / "docs/reliability.md").read_text())


def test_there_is_something_to_check():
    assert len(NAMED) > 50


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_named_tests_exist(path, name):
    assert f"def {name or 'test_'}" in (TESTS / path).read_text()
