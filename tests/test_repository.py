"""Files that tools outside the project read: continuous integration, pre-commit, the workflow catalog."""

from __future__ import annotations

import re
import subprocess

import yaml

from tests.helpers import REPOSITORY


def read(name: str):
    return yaml.safe_load((REPOSITORY / name).read_text())


def tracked(pattern: str) -> list[str]:
    """Files of the repository, also new ones that git does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", pattern]
    names = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.splitlines()
    return [name for name in names if (REPOSITORY / name).is_file()]


def recipe_of(target: str) -> list[str]:
    """The commands of a target of the Makefile."""
    text = (REPOSITORY / "Makefile").read_text()
    return re.findall(r"^\t(.+)$", re.search(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)[1], re.MULTILINE)


def test_continuous_integration_runs_the_script_that_developers_run():
    steps = read(".github/workflows/ci.yml")["jobs"]["test"]["steps"]
    assert ".ci/run" in [step.get("run") for step in steps]
    assert (REPOSITORY / ".ci/run").stat().st_mode & 0o111


def test_pre_commit_runs_the_commands_of_make_lint():
    (source,) = read(".pre-commit-config.yaml")["repos"]
    assert source["repo"] == "local"
    assert [hook["entry"] for hook in source["hooks"]] == recipe_of("lint")


def test_what_the_workflow_catalog_asks_for():
    usage = read(".snakemake-workflow-catalog.yml")["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    for name in ["workflow/Snakefile", "config/README.md"]:
        assert (REPOSITORY / name).is_file()
    readme = (REPOSITORY / "README.md").read_text().lower()
    assert "snakemake" in readme and "workflow" in readme
