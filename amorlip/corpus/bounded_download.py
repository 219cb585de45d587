"""Downloads of images that end: img2dataset reads an answer for as long as the server sends it."""

from __future__ import annotations

import functools
import http.client
import time
import urllib.request
from typing import Any
from unittest import mock

import cv2
from img2dataset import downloader
from img2dataset.downloader import Downloader

from amorlip.common.transparency import Transparency
from amorlip.corpus import robots
from amorlip.corpus.eight_bits import imdecode

MOST_BYTES = 1 << 26
"""Size limit of one image file."""


class BoundedDownloader(Downloader):
    """img2dataset's, with `timeout` for the whole answer and not only for its next byte.

    A subclass, because it is unpickled, and so imports this module, in the processes that download. Images are decoded
    with 8 bits per channel, and transparent ones as `transparency` says.
    """

    def __init__(self, *arguments: Any, transparency: Transparency, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.transparency: Transparency = transparency

    def __call__(self, row: Any) -> Any:
        """Download one shard."""
        opener = urllib.request.build_opener(_Bounds(self.timeout))
        decode = functools.partial(imdecode, transparency=self.transparency)
        # img2dataset calls these functions by name, so they are replaced while it runs.
        with (
            mock.patch.object(urllib.request, "_opener", opener),
            mock.patch.object(cv2, "imdecode", decode),
            mock.patch.object(downloader, "is_disallowed", robots.is_disallowed),
        ):
            return super().__call__(row)


class _Bounds(urllib.request.BaseHandler):
    """Makes `read()` of every successful response bounded."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def http_response(self, request: Any, response: http.client.HTTPResponse) -> http.client.HTTPResponse:
        """Called by urllib with every response."""
        if response.status == 200:
            deadline = time.monotonic() + self.seconds
            # On this answer alone: urllib has no place for a response class of one's own.
            vars(response)["read"] = lambda *_: _read(response, deadline)
        return response

    https_response = http_response


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    data = bytearray()
    while part := response.read1(1 << 16):
        data += part
        if time.monotonic() > deadline:
            raise TimeoutError("timed out")
        if len(data) > MOST_BYTES:
            raise ValueError("image file is too large")
    expected = response.headers.get("Content-Length")
    if expected and not response.chunked and len(data) < int(expected):
        raise ConnectionError("answer broke off")
    if not data:
        raise ConnectionError("answer is empty")
    return bytes(data)
