"""Keys are set in a file that people wrote, and nothing else of it changes."""

from __future__ import annotations

import pytest
import yaml

from amorlip.common.errors import AmorlipError
from amorlip.config.edit import set_keys
from tests.helpers import REPOSITORY

TEXT = """\
# a comment
title: Sets   # the title
tasks:
  a:   # the first
    source: {kind: hub, repository: owner/a}  # after
    samples: 3
  # between
  b:
    source:
      # inside
      kind: hub
      repository: owner/b  # b's
      commit: main  # to be replaced
    text: |
      source: not this one
"""


def test_comments_and_layout_stay(tmp_path):
    path = tmp_path / "sets.yaml"
    path.write_text(TEXT)
    places = {("tasks", key, "source"): {"commit": f"{key}1", "sha256": "00012"} for key in "ab"}
    set_keys(path, places)
    expected = TEXT.replace("owner/a}", 'owner/a, commit: "a1", sha256: "00012"}')
    expected = expected.replace("      kind: hub\n", '      sha256: "00012"\n      kind: hub\n')
    assert path.read_text() == expected.replace("commit: main", 'commit: "b1"')
    set_keys(path, places)
    assert path.read_text() == expected.replace("commit: main", 'commit: "b1"')


def test_the_first_line(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: 1")
    set_keys(path, {(): {"b": "x"}})
    assert yaml.safe_load(path.read_text()) == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: {b: 1}\n", ("a", "c"), "has no keys at a.c"),
        ("a: [1]\n", ("a",), "has no keys at a"),
        ("a: &x {b: 1}\nc: *x\n", ("c",), "its layout is not known"),
    ],
)
def test_what_cannot_be_edited_is_left_as_it_is(tmp_path, text, place, words):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(AmorlipError, match=words):
        set_keys(path, {place: {"k": "v"}})
    assert path.read_text() == text


@pytest.mark.parametrize("name", ["benchmarks/datacomp38.yaml", "corpora/cc3m.yaml", "corpora/cc12m.yaml"])
def test_our_own_files(tmp_path, name):
    path = tmp_path / "a.yaml"
    path.write_text((REPOSITORY / "config" / name).read_text())
    data = yaml.safe_load(path.read_text())
    sets = [("tasks", task, "source") for task in data.get("tasks", {})]
    places = sets or [("urls", "train"), ("mirror",)]
    set_keys(path, {place: {"sha256": "ab" * 32} for place in places})
    assert path.read_text().count("#") == (REPOSITORY / "config" / name).read_text().count("#")
