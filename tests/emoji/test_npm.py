from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile

import pytest
from pydantic import TypeAdapter, ValidationError

from amorlip.common.errors import AmorlipError
from amorlip.config.base import PackageName
from amorlip.config.corpus import Package
from amorlip.emoji import npm


def archive(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return file.getvalue()


def integrity(data: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()


@pytest.fixture
def registry(server, monkeypatch, tmp_path):
    """A loopback stand-in for npm's registry, with its own cache; `publish` puts packages there."""
    monkeypatch.setenv("npm_config_registry", server.url)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm-cache"))
    monkeypatch.setenv("npm_config_fetch_retries", "0")

    def publish(name: str, data: bytes) -> Package:
        path = name.replace("/", "%2f")
        dist = {"tarball": f"{server.url}/{name}/-/a.tgz", "integrity": integrity(data)}
        version = {"name": name, "version": "1.0.0", "dist": dist}
        listing = {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        server.pages[f"/{path}"] = json.dumps(listing).encode()
        server.pages[f"/{name}/-/a.tgz"] = data
        return Package(version="1.0.0", integrity=integrity(data), license="MIT", role="names")

    return publish


def test_packages_are_fetched_once(registry, server, tmp_path):
    data = {"package/icons.json": b"{}", "package/package.json": b'{"name": "x", "version": "1.0.0"}'}
    pins = {"@set/one": registry("@set/one", archive(data)), "two": registry("two", archive({"other/a/b.txt": b"b"}))}
    folders = npm.fetch(pins, tmp_path / "packages")
    assert folders == {name: tmp_path / "packages" / name for name in pins}
    assert (folders["@set/one"] / "icons.json").read_bytes() == b"{}"
    assert (folders["two"] / "a" / "b.txt").read_bytes() == b"b"
    before = server.visits.total()
    npm.fetch(pins, tmp_path / "packages")
    assert server.visits.total() == before


def test_another_archive_than_the_pinned_one_is_refused(registry, tmp_path):
    registry("one", archive({"package/a": b"changed"}))
    wanted = Package(version="1.0.0", integrity=integrity(b"as pinned"), license="MIT", role="names")
    with pytest.raises(AmorlipError, match="one@1.0.0 is not the pinned one") as error:
        npm.fetch({"one": wanted}, tmp_path / "packages")
    assert "\n" not in str(error.value)
    assert list((tmp_path / "packages").iterdir()) == []


def test_a_new_pin_replaces_the_package(registry, tmp_path):
    npm.fetch({"one": registry("one", archive({"package/old": b"1"}))}, tmp_path)
    # npm keeps answers for some minutes; another cache stands for the time between two pins.
    second = archive({"package/new": b"2"})
    (tmp_path / "one" / npm.STAMP).write_text("sha512-of another pin")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("npm_config_cache", str(tmp_path / "second-cache"))
        npm.fetch({"one": registry("one", second)}, tmp_path)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [npm.STAMP, "new"]


def test_a_missing_package_is_told_in_one_line(registry, tmp_path):
    pin = Package(version="1.0.0", integrity=integrity(b""), license="MIT", role="names")
    with pytest.raises(AmorlipError, match="npm could not fetch nowhere@1.0.0: .*404") as error:
        npm.fetch({"nowhere": pin}, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (archive({}, {"package/link": "/etc/passwd"}), "neither a file nor a folder"),
        (archive({"package/../../climb": b""}), "leads out of its folder"),
        (archive({"/absolute/file": b""}), "leads out of its folder"),
        (archive({"package/a": b"a" * 9999})[:60], "cannot be unpacked"),
        (b"no archive", "cannot be unpacked"),
    ],
    ids=["link", "climbing", "absolute", "cut", "no archive"],  # an archive's bytes hold the time of day
)
def test_unsafe_and_broken_archives_are_refused(data, message, tmp_path):
    path = tmp_path / "p.tgz"
    path.write_bytes(data)
    with pytest.raises(AmorlipError, match=message):
        npm.unpack(path, tmp_path / "out")
    assert not (tmp_path / "climb").exists()
    assert not list((tmp_path / "out").rglob("link")) if (tmp_path / "out").exists() else True


@pytest.mark.parametrize("name", ["-g", "--prefix=x", "@-a/b", "a/b", "../a", "file:a", "https://x.org/a.tgz", "A b"])
def test_names_that_npm_takes_for_something_else_are_refused(name):
    with pytest.raises(ValidationError, match="pattern"):
        TypeAdapter(PackageName).validate_python(name)


@pytest.mark.parametrize("version", ["latest", "^1.0.0", "1", "file:../a", "https://x.org/a.tgz", "npm:b@1.0.0", "-g"])
def test_versions_are_exact(version):
    with pytest.raises(ValidationError, match="pattern"):
        Package(version=version, integrity=integrity(b""), license="MIT", role="names")
    Package(version="1.0.0-beta.1+x", integrity=integrity(b""), license="MIT", role="names")
