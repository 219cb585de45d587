"""Any answer of a server, any listing of a hub, any drawing: data, or an error of a known kind, within the bounds."""

from __future__ import annotations

import functools
import http.client
import json
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest
from huggingface_hub.hf_api import RepoFile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from amorlip.common import hub_listing, web
from amorlip.common.errors import AmorlipError
from amorlip.emoji.svg_check import check_svg

pytestmark = pytest.mark.slow

text = functools.partial(st.text, "aZ/.-\0\x1b \n\u202e\ud800")  # all of Unicode takes half a minute to prepare
EXAMPLES = int(os.environ.get("AMORLIP_FUZZ", "150"))
FUZZ = settings(deadline=None, derandomize=True, max_examples=EXAMPLES)
MOST_BYTES, TIMEOUT_S, PATIENCE_S = 1 << 16, 0.5, 5

words = st.binary(max_size=20) | st.sampled_from(
    [b"4", b"-1", b"4, 4", b"chunked", b"gzip", b"close", b"/", b"x" * 70_000]
)
names = st.sampled_from([b"Content-Length", b"Transfer-Encoding", b"Location", b"Connection", b"X-A"]) | st.binary(
    max_size=8
)
lines = st.tuples(names, words).map(b": ".join)
starts = st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 302 F", b"HTTP/1.0 203", b"HTTP/1.1 100 C"]) | st.binary(
    max_size=20
)
bodies = st.binary(max_size=50) | st.sampled_from(
    [b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffff\r\n", b"x" * (MOST_BYTES + 1)]
)
answers = st.tuples(starts, st.lists(lines, max_size=4), bodies).map(
    lambda parts: b"\r\n".join([parts[0], *parts[1], b"", parts[2]])
)


class Answering:
    """A server that answers each visitor with `answer` and hangs up."""

    def __init__(self) -> None:
        self.answer = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                visitor, _ = self.listener.accept()
            except OSError:
                return
            with visitor:
                try:
                    visitor.recv(4096)
                    visitor.sendall(self.answer)
                except OSError:
                    pass


@pytest.fixture(scope="module")
def answering() -> Iterator[Answering]:
    made = Answering()
    yield made
    made.listener.close()


@given(answers)
@example(b"")
@example(b"HTTP/1.1 100 Continue\r\n\r\n" * 3000)
@FUZZ
def test_any_answer_of_a_server(answering, answer):
    answering.answer = answer
    opener, began = web.opener(most_bytes=MOST_BYTES, private=True), time.monotonic()
    try:
        with opener.open(urllib.request.Request(answering.url), timeout=TIMEOUT_S) as found:
            assert len(found.read()) <= MOST_BYTES
    except (OSError, ValueError, http.client.HTTPException) as error:
        assert str(error)
    assert time.monotonic() - began < PATIENCE_S


simple = st.none() | st.booleans() | st.integers() | text(max_size=5) | st.sampled_from(["a" * 40, "../a", "a/b"])
values = st.recursive(simple, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text(max_size=3), inner))
entries = st.fixed_dictionaries({"path": values, "size": values, "oid": values}, optional={"lfs": values})


@given(st.lists(entries, max_size=3))
@FUZZ
def test_any_listing_of_a_hub(listed):
    try:
        files = [RepoFile(**entry) for entry in json.loads(json.dumps(listed))]
    except (LookupError, TypeError, AttributeError, ValueError):
        return  # `hub_listing.bounded` turns them into one line
    try:
        found = hub_listing.files_of("owner/name", files)
    except AmorlipError as error:
        assert str(error).isprintable()
    else:
        assert all(file.path and ".." not in file.path.split("/") and file.size >= 0 for file in found)


tags = st.sampled_from(["g", "use", "path", "image", "x:use", "!DOCTYPE", "?xml", "!--", "![CDATA["])
pieces = st.sampled_from(
    ["<", "</", "/>", ">", ' href="', ' xlink:href="#', ' d="url(#', '"', "&a;", "&#x2f;", "-->", "]]>"]
)


@given(st.lists(tags | pieces | text(max_size=3), max_size=30).map("".join))
@FUZZ
def test_any_drawing(body):
    try:
        check_svg(f'<svg xmlns:xlink="http://www.w3.org/1999/xlink">{body}</svg>')
    except ValueError:
        return
    assert "<image" not in body.partition("<!--")[0].partition("<![CDATA[")[0]
