"""The files and commands of docs/your-own-data.md, taken from the page and run on miniature pictures."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.helpers import REPOSITORY

PAGE = (REPOSITORY / "docs/your-own-data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SPECIES = {"grey_heron": 60, "house sparrow": 160, "Zaunkönig": 230}
"""Name of a folder (with a space, with an umlaut) and the gray level of its pictures."""


def draw(folder: Path, level: int, count: int) -> None:
    folder.mkdir(parents=True)
    noise = np.random.default_rng(level)
    for number in range(count):
        pixels = np.clip(noise.normal(level, 20, (48, 40, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.jpg")


class Clone:
    """A copy of the repository's workflow next to a folder of pictures, in which the page is followed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder / "clone", folder / "data"
        for name in ["amorlip", "config", "workflow", "envs"]:
            shutil.copytree(REPOSITORY / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name, level in SPECIES.items():
            draw(self.data / "birds/train" / name, level, 24)
            draw(self.data / "birds/test" / name, level, 4)

    def adapted(self, text: str) -> str:
        """The page's text with this folder's paths, and few epochs."""
        return text.replace("/data", str(self.data)).replace("epochs: 20", "epochs: 3")

    def follow(self) -> str:
        """Write the files and run the commands in the page's order; the last command's output."""
        said = ""
        for language, text in BLOCKS:
            name = re.match(r"# (\S+\.(?:yaml|py))\n", text)
            if name:
                (self.folder / name[1]).write_text(self.adapted(text), encoding="utf-8")
            elif language == "bash":
                said = self.run(self.adapted(text))
        return said

    def run(self, commands: str) -> str:
        paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": paths, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        shell = ["bash", "-e", "-c", commands]
        done = subprocess.run(shell, cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
        return done.stdout


def test_every_file_of_the_page_has_a_name():
    for language, text in BLOCKS:
        assert language in {"bash", "text"} or re.match(r"# \S+\.(yaml|py)\n", text), text


@pytest.mark.slow
@pytest.mark.workflow
@pytest.mark.timeout(1800)
def test_the_page_leads_to_a_table(tmp_path):
    clone = Clone(tmp_path)
    table = clone.follow()
    assert "Small model, birds" in table and "AmorLIP" in table and "Species" in table
    manifest = yaml.safe_load((clone.folder / "results/corpora/birds/train/manifest.json").read_text())
    assert manifest["requested"] == manifest["samples"] == 24 * len(SPECIES)
    assert sorted(path.name for path in (clone.data / "birds").iterdir()) == ["list.tsv", "species", "test", "train"]
