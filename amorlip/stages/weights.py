"""The stage `weights`: published weights in OpenCLIP's cache, for evaluations on nodes without internet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from amorlip.common import files


def run(settings: Mapping[str, str], output: Path) -> None:
    """Download published weights and their tokenizer, and write where the file is, with its checksum.

    Raises AmorlipError for an unknown name, and where the download fails.
    """
    from amorlip import models  # takes seconds

    path = models.published_file(settings["model"], settings["pretrained"])
    models.published_tokenizer(settings["model"])
    files.write_json(output, {**settings, "file": str(path), "sha256": files.sha256(path)})
