"""The table of faults names tests that exist."""

from __future__ import annotations

import re

import pytest

from tests.helpers import REPOSITORY

TESTS = REPOSITORY / "tests"
NAMED = re.findall(r"`(\w+/test_\w+\.py)(?:::(\w+))?`", (TESTS.parent / "docs/reliability.md").read_text())


def test_there_is_something_to_check():
    assert len(NAMED) > 50


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_named_tests_exist(path, name):
    assert f"def {name or 'test_'}" in (TESTS / path).read_text()
