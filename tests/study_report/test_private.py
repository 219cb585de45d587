"""No path of this machine passes, and no address or relative path is harmed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorlip.study_report.private import REPOSITORY, shown, without_paths

LETTERS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data/alice/cc3m.tsv: not found", "…/cc3m.tsv: not found"),
        ("file:///data/alice/cc3m.tsv", "file:…/cc3m.tsv"),
        ("--output=/scratch/alice/run --workers 2", "--output=…/run --workers 2"),
        ('File "/opt/env/lib/python3.11/x.py", line 3', 'File "…/x.py", line 3'),
        ("see /home/alice", "see ~"),
        ("PATH=/home/alice/bin:/opt/tool/bin", "PATH=…/bin:…/bin"),
        ("https://example.org/data/cc3m.tsv", "https://example.org/data/cc3m.tsv"),
        ("results/demo/runs/demo/clip-seed0", "results/demo/runs/demo/clip-seed0"),
        ("../elsewhere/file and ~/file", "../elsewhere/file and …/file"),
        ("/home/alice/studies/secret/file", "…/file"),
        ("72 of 96 and/or 3/4, 120 pairs/s", "72 of 96 and/or 3/4, 120 pairs/s"),
    ],
)
def test_paths_of_this_machine(text, expected):
    assert without_paths(text) == expected


def test_paths_below_the_working_directory_become_relative(tmp_path, monkeypatch):
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert without_paths(f"weights in {folder}/results/model, {folder}.") == "weights in results/model, .."
    assert str(tmp_path) not in without_paths(f"{folder}-more/x, {folder}.old")
    assert without_paths(f"{REPOSITORY}/config/scales/demo.yaml") == "config/scales/demo.yaml"
    assert without_paths(f"{Path.home()}/thing/file").endswith("file")


@given(st.lists(LETTERS, min_size=2, max_size=5), st.sampled_from(["", "at ", "(", "'", "=", "key:", "a, "]))
def test_of_any_absolute_path_only_the_last_part_is_left(parts, before):
    told = without_paths(f"{before}/{'/'.join(parts)} was there")
    assert "/".join(["", *parts]) not in told
    assert told.endswith(f"{parts[-1]} was there") or "~" in told


def test_control_characters_are_escaped_and_lines_are_kept():
    assert shown("a\x1b[2Jb\nc") == "a\\x1b[2Jb\nc"
    assert shown(3.5) == 3.5
