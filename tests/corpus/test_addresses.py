"""Lists and tables of outcomes that are damaged are named in one line."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.corpus.addresses import Addresses
from amorlip.corpus.division import EVERY_SHARD
from amorlip.corpus.outcomes import Outcomes
from amorlip.corpus.urls import SCHEMA, write_table


@pytest.fixture
def urls(tmp_path):
    path = tmp_path / "urls.parquet"
    addresses = pa.chunked_array([[f"http://example.org/{n}.png" for n in range(20)]])
    write_table(addresses, addresses, pa.array(["train"] * 20), path)
    return path


def refused(path, call):
    with pytest.raises(AmorlipError) as caught:
        call()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_damaged_list_is_refused_or_read(urls):
    """The bytes of the texts themselves have no checksum; the download's record has one of the whole file."""
    whole, refusals = urls.read_bytes(), 0
    for place in range(0, len(whole), 7):
        urls.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            listed = Addresses(urls, "train", 5)
            assert len(listed.ids) in (0, 20)
            assert len(listed.ids) == 0 or listed.urls_of([3])
        except AmorlipError as error:
            assert "\n" not in str(error)
            refusals += 1
    assert refusals > len(whole) / 7 / 4


@pytest.mark.parametrize("ids", [[2**62], [-1], [None]])
def test_an_id_that_would_need_all_memory(tmp_path, ids):
    path = tmp_path / "urls.parquet"
    columns = [pa.array(ids, pa.int64()), pa.array(["http://x"]), pa.array(["a"]), pa.array(["train"])]
    pq.write_table(pa.table(columns, schema=SCHEMA), path)
    assert "not the number of a row" in refused(path, lambda: Addresses(path, "train", 5))


def test_other_files_than_lists(tmp_path, urls):
    for name, content in (("empty", b""), ("text", b"PAR1" * 100)):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, lambda path=tmp_path / name: Addresses(path, "train", 5))
    pq.write_table(pa.table({"url": ["http://x"]}), tmp_path / "other")
    assert "other columns" in refused(tmp_path / "other", lambda: Addresses(tmp_path / "other", "train", 5))


@pytest.mark.parametrize("ids", [[20], [-1], [2**62]])
def test_outcomes_of_addresses_that_are_not_in_the_list(tmp_path, urls, ids):
    table = tmp_path / "00000.parquet"
    pq.write_table(pa.table({"sample_id": np.array(ids), "status": ["success"], "error_message": [""]}), table)
    known = Outcomes(Addresses(urls, "train", 5), tmp_path, EVERY_SHARD)
    assert "not in the list" in refused(table, known.update)
    table.write_bytes(b"PAR1")
    refused(table, known.update)
