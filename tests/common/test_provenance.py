"""Versions, revision, machine."""

from __future__ import annotations

import subprocess
import sys

import torch

from amorlip.common import provenance


def test_versions_name_what_computes_results():
    found = provenance.versions()
    assert found["torch"] == torch.__version__.split("+")[0]
    assert {"python", "amorlip", "open_clip_torch", "numpy"} <= set(found)


def test_versions_are_cheap_to_ask_for():
    code = "import sys; from amorlip.common import provenance; provenance.versions(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_revision_marks_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "amorlip" / "common" / "provenance.py"))
    assert provenance.revision() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x"]
    (tmp_path / "file").write_text("1")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    clean = provenance.revision()
    assert len(clean) == 40
    (tmp_path / "file").write_text("2")
    assert provenance.revision() == f"{clean}+changes"


def test_machine_is_ready_for_json():
    assert provenance.machine()["device"]


def test_the_source_digest_follows_an_edit_that_is_not_committed(tmp_path, monkeypatch):
    package = tmp_path / "package"
    (package / "common").mkdir(parents=True)
    (package / "common" / "provenance.py").write_text("a = 1\n")
    monkeypatch.setattr(provenance, "__file__", str(package / "common" / "provenance.py"))

    def digest():
        return provenance.source_digest.__wrapped__()

    first = digest()
    assert digest() == first
    (package / "other.py").write_text("")
    second = digest()
    (package / "other.py").rename(package / "another.py")
    assert len({first, second, digest()}) == 3
