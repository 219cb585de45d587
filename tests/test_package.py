"""The package as `pip install .` makes it: complete, importable, and with requirements that agree with the lock."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.helpers import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [Requirement(line) for line in PROJECT["dependencies"]]
ENVIRONMENT_ONLY = {"setuptools"}
"""Needed to build and install the package in the environment, not to run it."""

IMPORT_EVERYTHING = """
import importlib, pkgutil
import amorlip, open_clip
for module in pkgutil.walk_packages(amorlip.__path__, "amorlip."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert "demo" in open_clip.list_models(), "the demo's architecture is missing"
print(amorlip.__file__)
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_lines(file: str) -> list[Requirement]:
    lines = (REPOSITORY / "envs" / file).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the tracked files, so that no build folder appears in the repository."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(REPOSITORY / "amorlip", folder / "source/amorlip", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ["pyproject.toml", "README.md", "LICENSE", "NOTICE"]:
        shutil.copy(REPOSITORY / name, folder / "source")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*pip, "--quiet", str(folder / "source")], check=True, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(wheel):
    tracked = subprocess.run(
        ["git", "ls-files", "amorlip"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout.split()
    assert set(tracked) <= set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.slow
def test_every_module_imports_outside_the_repository(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    program = f"import sys; sys.path.insert(0, {str(site)!r}){IMPORT_EVERYTHING}"
    # -P leaves the working directory out of the path
    run = subprocess.run([sys.executable, "-P", "-c", program], cwd=tmp_path, env={"PATH": ""}, capture_output=True)
    assert run.returncode == 0, run.stderr.decode()
    assert Path(run.stdout.decode().split()[-1]).is_relative_to(site)


def test_requirements_are_those_of_the_environment():
    named = {canonical(requirement.name) for requirement in REQUIREMENTS}
    assert named == {canonical(line.name) for line in requirement_lines("requirements.in")} - ENVIRONMENT_ONLY


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_the_locked_version_satisfies_the_requirement(requirement):
    lock = (REPOSITORY / "envs/requirements.lock").read_text()
    locked = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", lock, flags=re.MULTILINE))
    versions = {canonical(name): version for name, version in locked.items()}
    assert requirement.specifier.contains(versions[canonical(requirement.name)])
