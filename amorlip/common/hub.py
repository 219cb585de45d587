"""Files of Hugging Face dataset repositories: verified, and resumed where an earlier download stopped.

The hub's client makes the requests and finds the endpoint and the token (HF_ENDPOINT, HF_TOKEN). It drops the beginning
of a file when its process ends, and verifies no checksum; this module resumes and verifies.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, TypeVar, cast
from urllib.parse import quote

from amorlip.common import files, hub_listing
from amorlip.common.errors import AmorlipError, NotAvailable, one_line
from amorlip.common.room import check_room

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

T = TypeVar("T")

EVALUATION_SET = [
    "classnames.txt",
    "zeroshot_classification_templates.txt",
    "test/nshards.txt",
    "test/*.tar",
    "*.csv",
    "*.zip",
]
"""Globs of the files that evaluations read, in either layout."""

CONNECTIONS = 4
"""Files that are downloaded at the same time."""

WAITS_S = (1, 4, 16, 60)
"""Pauses before retries, in seconds."""


def download(
    repository: str,
    revision: str,
    folder: Path,
    patterns: list[str] | None = None,
    others: list[str] | None = None,
) -> str:
    """Download a dataset repository's files into `folder`: those that match `patterns` and not `others`, both globs.

    The size and checksum of every file are verified, also of files that are already there, which are kept. Files that
    were set aside in `folder` are used again where they match. The beginning of an unfinished file stays, hidden, and
    the next call resumes it. Returns the commit that `revision` stands for.

    Raises:
        AmorlipError: if the repository cannot be read, nothing matches, or a file is not what the hub lists.
    """
    with _explained(repository, revision):
        commit, wanted = _listing(repository, revision, patterns, others)
        _fetch_all(repository, commit, wanted, folder)
    return commit


def file_names(
    repository: str, revision: str, patterns: list[str] | None = None, others: list[str] | None = None
) -> list[str]:
    """The paths of the files that `download` would download. Raises AmorlipError as `download` does."""
    with _explained(repository, revision):
        return [file.path for file in _listing(repository, revision, patterns, others)[1]]


def _listing(
    repository: str, revision: str, patterns: list[str] | None, others: list[str] | None
) -> tuple[str, list[RepoFile]]:
    """The commit of a revision, and those of its files that are requested."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import filter_repo_objects

    api = HfApi()

    def tree(commit: str) -> list[Any]:
        entries = api.list_repo_tree(repository, repo_type="dataset", revision=commit, recursive=True)
        return list(itertools.islice(entries, hub_listing.MOST_FILES + 1))

    with hub_listing.bounded(repository):
        commit = _retried(lambda: api.dataset_info(repository, revision=revision).sha)
        if commit is None or not re.fullmatch(hub_listing.COMMIT, commit):
            raise AmorlipError(f"the dataset repository {repository} names no commit for '{revision}'; run again")
        files = hub_listing.files_of(repository, _retried(lambda: tree(commit)))
    wanted = list(
        filter_repo_objects(files, allow_patterns=patterns, ignore_patterns=others, key=lambda file: file.path)
    )
    if not wanted:
        raise AmorlipError(f"the dataset repository {repository} has no file that matches {patterns}")
    return commit, wanted


def _fetch_all(repository: str, commit: str, wanted: list[RepoFile], folder: Path) -> None:
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # several files are downloaded at once, with one log
    folder.mkdir(parents=True, exist_ok=True)
    check_room(folder, sum(_missing_bytes(file, folder) for file in wanted), f"the dataset repository {repository}")
    total = sum(file.size for file in wanted)
    size = 0
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        jobs = {pool.submit(_fetch, repository, commit, file, folder): file for file in wanted}
        try:
            for number, job in enumerate(as_completed(jobs), 1):
                job.result()
                size += jobs[job].size
                print(
                    f"{repository}: {number}/{len(wanted)} files, {size / 2**20:.1f}/{total / 2**20:.1f} MiB",
                    flush=True,
                )
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _missing_bytes(file: RepoFile, folder: Path) -> int:
    path = folder / file.path
    if path.exists():
        return 0
    part = _part(path, file)
    return max(0, file.size - (part.stat().st_size if part.exists() else 0))


def _part(path: Path, file: RepoFile) -> Path:
    # Named after the content, so that the beginning of another revision's file is never resumed.
    return path.with_name(f".{path.name}.{_checksum(file)[:12]}.part")


def _fetch(repository: str, commit: str, file: RepoFile, folder: Path) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import build_hf_headers

    path = folder / file.path
    if path.is_file() and _is(path, file):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for aside in folder.glob(f"{files.SET_ASIDE}*"):
        if (old := aside / file.path).is_file() and _is(old, file):
            old.replace(path)
            return
    part = _part(path, file)
    url = f"{HfApi().endpoint}/datasets/{repository}/resolve/{commit}/{quote(file.path)}"
    try:
        _retried(lambda: _resume(url, part, file.size, build_hf_headers()))
    except _TooLongError as error:
        part.unlink()
        raise AmorlipError(
            f"{path}: {repository} sends more than the {file.size} bytes that the hub lists; it is deleted, run again"
        ) from error
    if not _is(part, file):
        part.unlink()
        raise AmorlipError(
            f"{path}: the file that {repository} sent does not match the checksum that the hub lists"
            f" ({_checksum(file)}); it is deleted, run again"
        )
    part.replace(path)


def _resume(url: str, part: Path, size: int, headers: dict[str, str]) -> None:
    from huggingface_hub.file_download import http_get

    with files.open_to_append(part, "ab") as output:
        if output.tell() > size:
            output.truncate(0)
            output.seek(0)
        bounded = cast(BinaryIO, _UpTo(output, size))
        http_get(url, bounded, resume_size=output.tell(), expected_size=size, headers=headers)


class _TooLongError(Exception):
    """More bytes than the hub lists."""


class _UpTo:
    """A file of at most `size` bytes: the hub's client writes all that a server sends, and then counts it."""

    def __init__(self, file: IO[Any], size: int) -> None:
        self.file, self.size = file, size

    def write(self, data: bytes) -> int:
        if self.file.tell() + len(data) > self.size:
            raise _TooLongError
        return self.file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def _checksum(file: RepoFile) -> str:
    """What the hub lists: sha256 for large files, the git object's sha1 for small ones."""
    return file.lfs.sha256 if file.lfs else file.blob_id


def _is(path: Path, file: RepoFile) -> bool:
    if path.stat().st_size != file.size:
        return False
    if file.lfs:
        return files.sha256(path) == file.lfs.sha256
    return hashlib.sha1(b"blob %d\0" % file.size + path.read_bytes()).hexdigest() == file.blob_id


def _retried(call: Callable[[], T]) -> T:
    """`call`, retried after a pause if the hub is busy or broken or the network fails."""
    from huggingface_hub.errors import HTTPError

    for wait in WAITS_S:
        try:
            return call()
        except (HTTPError, OSError) as error:
            if not _may_pass(error):
                raise
            print(f"{one_line(error)}; trying again in {wait} s", flush=True)
            time.sleep(wait)
    return call()


def _may_pass(error: Exception) -> bool:
    """Whether a retry may help: no response, an incomplete one, or a busy server. Not with a full disk."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code in (408, 429) or response.status_code >= 500
    return getattr(error, "errno", None) is None and not isinstance(error, OfflineModeIsEnabled)


@contextmanager
def _explained(repository: str, revision: str) -> Iterator[None]:
    """Turn the errors of the hub's client into one line that says what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = f"the dataset repository {repository}"
    try:
        yield
    except GatedRepoError as error:
        raise NotAvailable(f"{name} is gated: accept its terms on its page, then set HF_TOKEN") from error
    except RepositoryNotFoundError as error:
        raise NotAvailable(f"{name} does not exist, or is private: if private, set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise AmorlipError(f"{name} has no revision '{revision}'") from error
    except HFValidationError as error:
        raise AmorlipError(f"{name}: not a name of the form owner/name") from error
    except (HTTPError, OSError) as error:
        raise AmorlipError(f"{name} cannot be downloaded ({one_line(error)}); run again to resume") from error
