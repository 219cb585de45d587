"""What a web server can do to a download: counted by reason, in bounded time, and the rest comes through."""

from __future__ import annotations

import json
import time

import pyarrow as pa
import pytest

from amorlip.corpus.urls import write_table
from tests.helpers.chain import Chain, finish
from tests.helpers.miniatures import bomb, picture

pytestmark = pytest.mark.slow

TIMEOUT_S = 4


class Dripping(bytes):
    """A body that is sent byte by byte for as long as someone reads, always in time for a patient reader."""


class Endless(bytes):
    """A body that is sent without pause, again and again."""


@pytest.fixture
def served(server, monkeypatch) -> list[str]:
    """Paths: one good picture, one that has moved, and nine faults."""
    pages = {
        "/good": picture(0), "/html": b"<html>sold</html>", "/bomb": bomb(50_000), "/gigapixel": bomb(32_000),
        "/cut": picture(1), "/empty": b"", "/drip": Dripping(picture(2)), "/endless": Endless(bytes(1 << 20)),
        "/loop": lambda _: (302, b""), "/inward": lambda _: (302, b""), "/moved": lambda _: (302, b""),
    }  # fmt: skip
    server.pages.update(pages)
    server.headers["/cut"] = {"Content-Length": "9999"}
    server.headers["/drip"] = server.headers["/endless"] = {"Content-Length": str(1 << 40)}
    server.headers["/loop"] = {"Location": f"{server.url}/loop"}
    server.headers["/inward"] = {"Location": "file:///etc/hostname"}
    server.headers["/moved"] = {"Location": f"{server.url}/good"}
    handler = server.httpd.RequestHandlerClass
    monkeypatch.setattr(handler, "wbufsize", 0)
    answer = handler._answer

    def slowly(self, with_body: bool) -> None:
        answer(self, with_body)
        page = server.pages.get(self.path)
        while isinstance(page, Dripping | Endless):
            time.sleep(0.3 if isinstance(page, Dripping) else 0.01)
            self.wfile.write(b"." if isinstance(page, Dripping) else page)

    monkeypatch.setattr(handler, "_answer", slowly)
    return list(pages)


def test_servers_faults_are_counted(inputs: Chain, server, served, tmp_path):
    urls = [*(server.url + path for path in served), server.url + "/absent", "http://127.0.0.1:9/refused"]
    write_table(
        pa.array(urls), pa.array([f"caption {i}" for i in range(len(urls))]), pa.array(["train"] * len(urls)),
        tmp_path / "urls.parquet",
    )  # fmt: skip
    finish(inputs.download_stage(tmp_path / "urls.parquet", tmp_path / "train", timeout_s=TIMEOUT_S))
    record = json.loads((tmp_path / "train" / "download.json").read_text())
    assert (record["requested"], record["downloaded"]) == (13, 2), record
    endless = {"image file is too large", "timed out"} & record["failed"].keys()
    assert sum(record["failed"].pop(reason) for reason in endless) == 2
    assert record["failed"] == {
        "image has too many pixels": 2, "image cannot be decoded": 1, "connection broke off": 1, "answer is empty": 1,
        "HTTP Error 404: Not Found": 1, "connection refused": 1, "HTTP Error 302: Found": 2,
    }  # fmt: skip
    finish(inputs.shards_stage(tmp_path / "train"))
    manifest = json.loads((tmp_path / "train" / "manifest.json").read_text())
    assert (manifest["requested"], manifest["samples"]) == (13, 2)
