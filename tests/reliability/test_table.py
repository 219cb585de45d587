"""The tables of faults and of hostile input name tests that exist."""

from __future__ import annotations

import re

import pytest

from tests.helpers import REPOSITORY

TESTS = REPOSITORY / "tests"
PAGES = ["docs/reliability.md", "docs/security.md"]
TEXT = "".join((TESTS.parent / page).read_text(encoding="utf-8") for page in PAGES)
NAMED = re.findall(r"`((?:\w+/)?test_\w+\.py)(?:::(\w+))?`", TEXT)


def test_there_is_something_to_check():
    assert len(NAMED) > 50


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_named_tests_exist(path, name):
    assert f"def {name or 'test_'}" in (TESTS / path).read_text()
