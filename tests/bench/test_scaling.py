"""The corpora without pictures are those that the loader reads, and take hardly any of the disk."""

from __future__ import annotations

import json

import pytest

from amorlip.bench import scaling
from amorlip.corpus.manifest import INDEX
from amorlip.loader.index import COPY


def test_result_files(tmp_path):
    case = scaling.Case("tiny", 2 * 10**6)
    [result] = scaling.run(tmp_path / "s.json", tmp_path / "s.md", [case])
    [written] = json.loads((tmp_path / "s.json").read_text())
    assert written["pairs"] == case.pairs and written["batches_s"] == result.batches_s > 0
    assert 0 < result.own_mib < 300 and result.index_gib == pytest.approx(36 * case.pairs / 2**30, rel=0.01)
    assert "| tiny |" in (tmp_path / "s.md").read_text()


def test_the_files_are_sparse(tmp_path):
    scaling.write_corpus(tmp_path, 10**6)
    assert (tmp_path / COPY).stat().st_size > 36 * 10**6
    assert sum(path.stat().st_blocks * 512 for path in tmp_path.iterdir()) < 2 * 10**6
    assert (tmp_path / INDEX).stat().st_size < 10**5
    assert len(list(tmp_path.glob("*.tar"))) == 100
