"""Files of Hugging Face dataset repositories."""

from __future__ import annotations

from pathlib import Path

from amorlip.errors import AmorlipError


def download(
    repository: str,
    revision: str,
    folder: Path,
    patterns: list[str] | None = None,
    others: list[str] | None = None,
) -> str:
    """Download a dataset repository's files into `folder`: those that match `patterns` and not `others`, both globs.

    Files that are there already are not fetched again. Returns the commit that `revision` stands for. Raises
    AmorlipError when the repository cannot be had; HF_ENDPOINT and HF_TOKEN are the client's own settings.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    api = HfApi()
    try:
        commit = api.dataset_info(repository, revision=revision).sha
        api.snapshot_download(
            repository,
            repo_type="dataset",
            revision=commit,
            local_dir=folder,
            allow_patterns=patterns,
            ignore_patterns=others,
        )
    except RepositoryNotFoundError as error:
        raise AmorlipError(
            f"there is no dataset repository {repository} at revision {revision}, or it needs HF_TOKEN"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise AmorlipError(
            f"the dataset repository {repository} cannot be downloaded: {reason}; check the network and run again"
        ) from error
    return commit
