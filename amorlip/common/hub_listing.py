"""What a hub lists of a repository: read within bounds, and refused where a path, size or checksum is none."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from amorlip.common.errors import AmorlipError
from amorlip.common.printable import printable

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

MOST_FILES = 100_000
MOST_ANSWERS = 1000
"""Pages of a listing, redirects and retries; the hub lists 1000 files on a page."""
MOST_PAGE_BYTES = {False: 1 << 26, True: 1 << 19}
"""Of an answer as it is sent, plain and compressed; a compressed one can become a thousand times as large."""
TIMEOUT_S = 600
"""Of a whole listing."""
MOST_NAME_BYTES = 255
"""Linux's limit for each part of a path."""
COMMIT = r"[0-9a-f]{40}"


def files_of(repository: str, entries: Sequence[Any]) -> list[RepoFile]:
    """The files of a listing. Raises AmorlipError if there are too many, two of one path, or one that cannot be."""
    from huggingface_hub.hf_api import RepoFile

    listed = [entry for entry in entries if isinstance(entry, RepoFile)]
    where = f"the dataset repository {repository} lists"
    if len(entries) > MOST_FILES:
        raise AmorlipError(f"{where} more than {MOST_FILES} files; this is not an evaluation set or a corpus")
    for file in listed:
        if not _is_inside(file.path):
            raise AmorlipError(f"{where} a path that leaves its folder or is no path: {printable(str(file.path), 200)}")
        if type(file.size) is not int or file.size < 0 or not _has_digest(file):
            raise AmorlipError(f"{where} {printable(file.path, 200)} with a size or checksum that is none")
    if len({file.path for file in listed}) < len(listed):
        raise AmorlipError(f"{where} a path twice; do not use it")
    return listed


def _is_inside(path: Any) -> bool:
    if not isinstance(path, str) or printable(path) != path:
        return False
    return all(part not in ("", ".", "..") and len(part.encode()) <= MOST_NAME_BYTES for part in path.split("/"))


def _has_digest(file: RepoFile) -> bool:
    digest, digits = (file.lfs.sha256, 64) if file.lfs else (file.blob_id, 40)
    return isinstance(digest, str) and re.fullmatch(rf"[0-9a-f]{{{digits}}}", digest) is not None


@contextmanager
def bounded(repository: str) -> Iterator[None]:
    """Within the block, the hub's client reads answers of a limited number, size and time.

    Raises AmorlipError if there are more, or one is not of the form that the client expects.
    """
    from huggingface_hub.errors import HFValidationError, HTTPError
    from huggingface_hub.utils import get_session

    bounds = _Bounds(repository)
    session = get_session()
    before = session.event_hooks
    session.event_hooks = {**before, "response": [*before["response"], bounds.see]}
    try:
        yield
    except (AmorlipError, HTTPError, OSError, HFValidationError):
        raise
    except Exception as error:  # of the client, which takes for granted what a hub answers
        raise AmorlipError(
            f"the dataset repository {repository}: its listing cannot be read ({type(error).__name__}); run again"
        ) from error
    finally:
        session.event_hooks = before


class _Bounds:
    """What is left of a listing's bounds."""

    def __init__(self, repository: str) -> None:
        self.repository, self.answers, self.deadline = repository, MOST_ANSWERS, time.monotonic() + TIMEOUT_S

    def see(self, response: Any) -> None:
        """Count an answer whose header has arrived, and read its content within the bounds."""
        self.answers -= 1
        most = MOST_PAGE_BYTES["content-encoding" in response.headers]
        response.stream = _bounded_stream(response.stream, most, self)
        self.check(self.answers >= 0)

    def check(self, enough: bool) -> None:
        """Raise AmorlipError unless `enough` and there is time left."""
        if not enough or time.monotonic() > self.deadline:
            raise AmorlipError(
                f"the dataset repository {self.repository}: its listing is too long or takes too long; run again, and"
                " do not use the repository if that happens again"
            )


def _bounded_stream(stream: Any, most: int, bounds: _Bounds) -> Any:
    import httpx2

    class Stream(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            left = most
            for part in stream:
                left -= len(part)
                bounds.check(left >= 0)
                yield part

        def close(self) -> None:
            stream.close()

    return Stream()
