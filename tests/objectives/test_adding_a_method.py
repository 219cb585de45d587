"""The example of docs/adding-a-method.md is what the files have."""

from __future__ import annotations

import re

import pytest

from tests.helpers import REPOSITORY

TEXT = (REPOSITORY / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
PARTS = [match.group(1) for match in re.finditer(r"```(?:python|yaml)\n(.*?)```", TEXT, re.DOTALL)]
FILES = [
    "amorlip/config/objectives.py",
    "amorlip/objectives/dcl.py",
    "amorlip/config/objectives.py",
    "config/methods/dcl.yaml",
]


def test_it_is_short():
    assert sum(len(part.splitlines()) for part in PARTS) < 60


@pytest.mark.parametrize(("part", "file"), list(zip(PARTS, FILES, strict=True)))
def test_each_part_is_in_its_file(part, file):
    assert file in TEXT
    assert part in (REPOSITORY / file).read_text(encoding="utf-8")
