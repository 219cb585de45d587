"""A list as the web has them, a third of it dead, downloaded by several jobs of which one is killed."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import tarfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from amorlip.corpus.urls import write_table
from tests.helpers import chain as chains
from tests.helpers.chain import Chain, finish
from tests.helpers.miniatures import picture

pytestmark = pytest.mark.slow

TIMEOUT_S = 3
KINDS = {
    "good": 13, "alpha": 1, "slow": 2, "moved": 2, "late": 2, "html": 1, "robots": 1, "preview": 1, "gone": 4,
    "silent": 2, "refused": 3,
}  # fmt: skip
"""Kind → addresses, in a list of four shards of eight: 30% are dead (gone, silent, refused)."""
FAILED = {
    "HTTP Error 404: Not Found": 4, "connection refused": 3, "timed out": 2, "image cannot be decoded": 1,
    "Use of image disallowed by X-Robots-Tag directive": 2,
}  # fmt: skip
TRIED_AGAIN = {"late", "html", "silent"}
"""Kinds that a further pass asks this server for. It asks for refused addresses too."""


def transparent() -> bytes:
    """A picture whose colors are under an alpha of 0."""
    file = io.BytesIO()
    Image.new("RGBA", (16, 16), (200, 100, 50, 0)).save(file, "PNG")
    return file.getvalue()


def answer_after(seconds: float, status: int = 200):
    return lambda _: (time.sleep(seconds), (status, picture(1)))[1]


def fill(server) -> list[str]:
    """Addresses of all kinds, mixed."""
    pages = {
        "good": picture(0), "alpha": transparent(), "slow": answer_after(0.5), "robots": picture(0),
        "preview": picture(0), "html": b"<html><a href='picture.jpg'>the picture has moved</a></html>",
        "silent": answer_after(3 * TIMEOUT_S), "moved": lambda _: (302, b""),
        "late": lambda visit: (503, b"") if visit == 1 else (200, picture(2)),
    }  # fmt: skip
    headers = {
        "robots": {"X-Robots-Tag": "noai"},
        "preview": {"X-Robots-Tag": "max-image-preview:none, noindex"},
        "moved": {"Location": f"{server.url}/good/0"},
    }
    paths = [f"/{kind}/{number}" for kind, count in KINDS.items() for number in range(count)]
    for path in paths:
        kind = path.split("/")[1]
        if kind in pages:
            server.pages[path] = pages[kind]
        server.headers[path] = headers.get(kind, {})
    return [paths[i] for i in np.random.default_rng(3).permutation(len(paths))]


def refusing() -> socket.socket:
    """A port that nobody listens on, and nobody else gets."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return taken


def download(inputs: Chain, urls: Path, folder: Path, *options: str) -> list[str]:
    arguments = inputs.download_stage(urls, folder, timeout_s=TIMEOUT_S, retries=1)
    settings = Path(arguments[arguments.index("--settings") + 1])
    corpus = json.loads(settings.read_text())
    settings.write_text(json.dumps({**corpus, "samples_per_shard": 8, "transparency": "drop"}))
    return [*arguments, "--processes", "1", *options]


def kill_after_first_shard(arguments: list[str], folder: Path) -> None:
    """Start a download and kill it, its processes too, when it has finished a shard and not yet the next one."""
    process = subprocess.Popen([*chains.COMMAND, *arguments], start_new_session=True, env=chains.environment())
    deadline = time.monotonic() + chains.PATIENCE_S
    while not [*folder.glob(".staging*/shards/*_stats.json")] and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_third_of_the_list_is_dead(inputs: Chain, server, tmp_path):
    with refusing() as taken:
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
        paths = fill(server)
        count = len(paths)
        urls = [(closed if path.startswith("/refused") else server.url) + path for path in paths]
        captions, splits = pa.array([f"c {i}" for i in range(count)]), pa.array(["train"] * count)
        write_table(pa.array(urls), captions, splits, tmp_path / "urls.parquet")
        folder = tmp_path / "train"

        def part(*options: str) -> list[str]:
            return download(inputs, tmp_path / "urls.parquet", folder, *options)

        kill_after_first_shard(part("--part", "1", "--parts", "2"), folder)
        [finished] = [int(path.name[:5]) for path in folder.glob(".staging*/shards/*_stats.json")]
        first = {path for path in paths[finished * 8 : finished * 8 + 8] if path.split("/")[1] != "refused"}
        before = server.visits.copy()
        finish(part("--part", "1", "--parts", "2"))
        again = {path for path in first if server.visits[path] > before[path]}
        assert {path.split("/")[1] for path in again - {"/good/0"}} <= TRIED_AGAIN  # /good/0: others lead there
        finish(part("--part", "2", "--parts", "2"))
        finish(part("--parts", "2"))
        record = json.loads((folder / "download.json").read_text())
        assert record["failed"] == FAILED and record["parts"] == 2
        assert record["requested"] == count == record["downloaded"] + sum(FAILED.values())
        assert record["downloaded"] == sum(KINDS[kind] for kind in ("good", "alpha", "slow", "moved", "late"))

        before = server.visits.copy()
        finish(part("--retries", "0"))
        kinds = Counter(path.split("/")[1] for path in (server.visits - before).elements())
        assert kinds == {"html": 1, "silent": 2}  # permanent failures and what was downloaded are not requested
        assert json.loads((folder / "download.json").read_text())["failed"] == FAILED
    assert color_of(folder, paths.index("/alpha/0")) == (200, 100, 50)
    finish(inputs.shards_stage(folder))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["samples"], manifest["yield"], manifest["refused"]) == (20, 20 / 32, {})


def color_of(folder: Path, sample_id: int) -> tuple[int, ...]:
    """The first pixel of a pair as it is stored."""
    with tarfile.open(folder / f"{sample_id // 8:05d}.tar") as tar:
        for member in tar:
            content = tar.extractfile(member).read()
            if member.name.endswith(".json") and json.loads(content)["sample_id"] == sample_id:
                picture = tar.extractfile(member.name.replace(".json", ".png")).read()
                return Image.open(io.BytesIO(picture)).getpixel((0, 0))
    raise AssertionError(f"no sample {sample_id}")
