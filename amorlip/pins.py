"""`amorlip pin`: what was fetched is written into the configuration, so that a source that changes is not followed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amorlip.common.errors import AmorlipError
from amorlip.config.corpus import Corpus
from amorlip.config.edit import set_keys
from amorlip.config.locations import KeyPath, shown_path
from amorlip.corpus.records import DOWNLOAD, LISTS, MANIFEST, DownloadRecord, ListsRecord, Manifest
from amorlip.study import Study
from amorlip.tasks.record import RECORD, TaskRecord


@dataclass(frozen=True)
class Pin:
    """What is known of one source."""

    what: str
    """For messages."""
    file: Path
    """The YAML file that names the source."""
    place: KeyPath
    """Where in the file."""
    given: Any
    """The source's section, which may have pins."""
    found: dict[str, str]
    """Key → the commit or checksum of what was fetched; empty if nothing was."""


def pin(study: Study, results: Path) -> list[str]:
    """Write the commits and checksums of what a study fetched into `results` into the study's files.

    Returns lines that say what was written. Raises AmorlipError if something else was pinned before, or a file cannot
    be edited.
    """
    lines: list[str] = []
    changes: dict[Path, dict[KeyPath, dict[str, str]]] = {}
    for source in _sources(study, results):
        new = {key: value for key, value in source.found.items() if getattr(source.given, key) != value}
        for key, value in new.items():
            if (pinned := getattr(source.given, key)) is not None:
                raise AmorlipError(
                    f"{shown_path(source.file)}: {'.'.join(map(str, source.place))}.{key} is {pinned}, but what was"
                    f" fetched has {value}; delete the key to pin it again"
                )
        if new:
            changes.setdefault(source.file, {})[source.place] = new
        lines.append(f"{source.what}: {_state(source, new)}")
    for file, places in changes.items():
        set_keys(file, places)
        lines.append(f"{shown_path(file)}: {sum(map(len, places.values()))} keys written")
    return lines or ["nothing to pin: no list, mirror or repository is used"]


def _state(source: Pin, new: dict[str, str]) -> str:
    if not source.found:
        return "not fetched yet; run `snakemake fetch` with the study's files, then pin again"
    return ", ".join(f"{key} {value[:12]}" for key, value in new.items()) or "pinned before"


def _sources(study: Study, results: Path) -> Iterator[Pin]:
    for name, corpus in study.corpora.items():
        file, folder = study.files.folder / "corpora" / f"{name}.yaml", results / "corpora" / name
        if corpus.source == "mirror" and corpus.mirror is not None:
            yield Pin(f"corpus {name}", file, ("mirror",), corpus.mirror, _mirror(corpus, folder))
        elif corpus.source == "urls" and corpus.urls is not None:
            yield from _lists(name, corpus, file, folder)
    name = study.selection.benchmark
    file = study.files.folder / "benchmarks" / f"{name}.yaml"
    for key, task in study.benchmark.tasks.items():
        if task.source.kind == "hub":
            yield Pin(f"task {key}", file, ("tasks", key, "source"), task.source, _task(results / "tasks" / key))


def _mirror(corpus: Corpus, folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for split in ("train", "validation"):
        manifest = folder / split / MANIFEST
        if not manifest.is_file():
            continue
        commit = DownloadRecord.read(folder / split / DOWNLOAD).revision
        if found.setdefault("commit", str(commit)) != commit:
            raise AmorlipError(
                f"{folder}: train and validation are of different commits of the mirror, {found['commit']} and"
                f" {commit}; delete {folder / split / DOWNLOAD} and run `snakemake fetch` again"
            )
        found[f"{split}_sha256"] = Manifest.read(manifest).content_sha256()
    return found


def _lists(name: str, corpus: Corpus, file: Path, folder: Path) -> Iterator[Pin]:
    known = ListsRecord.read(folder / LISTS).lists if (folder / LISTS).is_file() else {}
    for split in ("train", "validation"):
        given = getattr(corpus.urls, split)
        if given is not None:
            record = known.get(split)
            found = {"sha256": record.sha256} if record and record.url == given.url else {}
            yield Pin(f"corpus {name}, list {split}", file, ("urls", split), given, found)


def _task(folder: Path) -> dict[str, str]:
    if not (folder / RECORD).is_file():
        return {}
    record = TaskRecord.read(folder / RECORD)
    return {} if record.missing else {"commit": record.source["revision"], "sha256": record.content_sha256()}
