"""Downloads of images that end: img2dataset reads an answer for as long as the server sends it."""

from __future__ import annotations

import functools
import urllib.request
from typing import Any
from unittest import mock

import cv2
from img2dataset import downloader
from img2dataset.downloader import Downloader

from amorlip.common import web
from amorlip.common.transparency import Transparency
from amorlip.corpus import robots
from amorlip.corpus.eight_bits import imdecode

MOST_BYTES = 1 << 26
"""Size limit of one image file, with the headers and redirects before it."""


class BoundedDownloader(Downloader):
    """img2dataset's, with `timeout` for the whole answer and not only for its next byte.

    A subclass, because it is unpickled, and so imports this module, in the processes that download. Images are decoded
    with 8 bits per channel, and transparent ones as `transparency` says. `private` and `files` are those of
    `web.opener`.
    """

    def __init__(self, *arguments: Any, transparency: Transparency, private: bool, files: bool, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.transparency: Transparency = transparency
        self.private, self.files = private, files

    def __call__(self, row: Any) -> Any:
        """Download one shard."""
        opener = web.opener(most_bytes=MOST_BYTES, private=self.private, files=self.files)
        decode = functools.partial(imdecode, transparency=self.transparency)
        # img2dataset calls these functions by name, so they are replaced while it runs.
        with (
            mock.patch.object(urllib.request, "_opener", opener),
            mock.patch.object(cv2, "imdecode", decode),
            mock.patch.object(downloader, "is_disallowed", robots.is_disallowed),
        ):
            return super().__call__(row)
