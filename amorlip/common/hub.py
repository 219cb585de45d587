"""Files of Hugging Face dataset repositories: verified, and resumed where an earlier try stopped.

The client of the hub lists and requests, and finds the endpoint and the token (HF_ENDPOINT, HF_TOKEN). It drops the
beginning of a file when a process ends and checks no digest; both are done here.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from amorlip.common import files
from amorlip.common.errors import AmorlipError, MissingTask, one_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi
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
"""Files that are downloaded at a time."""

WAITS_S = (1, 4, 16, 60)
"""Before each further try, where the hub or the network fails for the moment [s]."""


def download(
    repository: str,
    revision: str,
    folder: Path,
    patterns: list[str] | None = None,
    others: list[str] | None = None,
) -> str:
    """Download a dataset repository's files into `folder`: those that match `patterns` and not `others`, both globs.

    The size and digest of every file are checked, also of those that are there already, which are kept. What has come
    of an unfinished file stays, hidden, and is continued by the next call. Returns the commit that `revision` stands
    for. Raises AmorlipError when the repository cannot be had, nothing matches or a file is not what the hub lists.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils import disable_progress_bars, filter_repo_objects

    disable_progress_bars()  # of several files at a time in one log
    api = HfApi()
    with _explained(repository, revision):
        commit = _patiently(lambda: api.dataset_info(repository, revision=revision).sha)
        tree = _patiently(
            lambda: list(api.list_repo_tree(repository, repo_type="dataset", revision=commit, recursive=True))
        )
        listed = [entry for entry in tree if isinstance(entry, RepoFile)]
        wanted = list(
            filter_repo_objects(listed, allow_patterns=patterns, ignore_patterns=others, key=lambda file: file.path)
        )
        if not wanted:
            raise AmorlipError(f"the dataset repository {repository} has no file that matches {patterns}")
        for file in wanted:
            if ".." in PurePosixPath(file.path).parts or file.path.startswith("/"):
                raise AmorlipError(
                    f"the dataset repository {repository} lists a path that leaves its folder: {file.path}"
                )
        _fetch_all(api, repository, commit, wanted, folder)
    return commit


def _fetch_all(api: HfApi, repository: str, commit: str, wanted: list[RepoFile], folder: Path) -> None:
    total = sum(file.size for file in wanted)
    size = 0
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        jobs = {pool.submit(_fetch, api, repository, commit, file, folder / file.path): file for file in wanted}
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


def _fetch(api: HfApi, repository: str, commit: str, file: RepoFile, path: Path) -> None:
    from huggingface_hub.utils import build_hf_headers

    if path.is_file() and _is(path, file):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Named after the content, so that another revision's beginning is never continued.
    part = path.with_name(f".{path.name}.{_digest(file)[:12]}.part")
    url = f"{api.endpoint}/datasets/{repository}/resolve/{commit}/{quote(file.path)}"
    _patiently(lambda: _continue(url, part, file.size, build_hf_headers()))
    if not _is(part, file):
        part.unlink()
        raise AmorlipError(
            f"{path}: what {repository} sent has another digest than the hub lists ({_digest(file)}); "
            "it is deleted, run again"
        )
    part.replace(path)


def _continue(url: str, part: Path, size: int, headers: dict[str, str]) -> None:
    from huggingface_hub.file_download import http_get

    with part.open("ab") as output:
        if output.tell() > size:
            output.truncate(0)
            output.seek(0)
        http_get(url, output, resume_size=output.tell(), expected_size=size, headers=headers)


def _digest(file: RepoFile) -> str:
    """What the hub lists: sha256 for large files, the git object's sha1 for small ones."""
    return file.lfs.sha256 if file.lfs else file.blob_id


def _is(path: Path, file: RepoFile) -> bool:
    if path.stat().st_size != file.size:
        return False
    if file.lfs:
        return files.sha256(path) == file.lfs.sha256
    return hashlib.sha1(b"blob %d\0" % file.size + path.read_bytes()).hexdigest() == file.blob_id


def _patiently(call: Callable[[], T]) -> T:
    """`call`, again after a while where the hub is busy or broken or the network fails."""
    from huggingface_hub.errors import HTTPError

    for wait in WAITS_S:
        try:
            return call()
        except (HTTPError, OSError) as error:
            if not _passing(error):
                raise
            print(f"{one_line(error)}; trying again in {wait} s", flush=True)
            time.sleep(wait)
    return call()


def _passing(error: Exception) -> bool:
    """Whether another try may help: no answer, a short one, or one that says so. Not: no space left on the disk."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code in (408, 429) or response.status_code >= 500
    return getattr(error, "errno", None) is None and not isinstance(error, OfflineModeIsEnabled)


@contextmanager
def _explained(repository: str, revision: str) -> Iterator[None]:
    """What the hub's client raises, as one line that says what to do."""
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
        raise MissingTask(f"{name} is gated: accept its terms on its page, then set HF_TOKEN") from error
    except RepositoryNotFoundError as error:
        raise MissingTask(f"{name} does not exist, or is private: then set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise AmorlipError(f"{name} has no revision '{revision}'") from error
    except HFValidationError as error:
        raise AmorlipError(f"{name}: not a name of the form owner/name") from error
    except (HTTPError, OSError) as error:
        raise AmorlipError(f"{name} cannot be downloaded ({one_line(error)}); run again to continue") from error
