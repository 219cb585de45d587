"""The examples of config/README.md are valid, and name only files that they show."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from amorlip.config.load import merged
from amorlip.study import Study, load_study, top_level_layers
from tests.helpers import REPOSITORY

README = (REPOSITORY / "config" / "README.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```yaml\n# (\S+\.yaml)[^\n]*\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def repository(tmp_path) -> Path:
    """The shipped configuration with the example's files added, and the user's data that they name."""
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    data = tmp_path / "data" / "pets"
    (data / "cats_and_dogs").mkdir(parents=True)
    (data / "cats_and_dogs" / "test").mkdir()
    for file in ("classnames.txt", "zeroshot_classification_templates.txt", "test/nshards.txt"):
        (data / "cats_and_dogs" / file).touch()
    (data / "train.tsv").touch()
    for name, text in FENCED:
        assert not (tmp_path / name).exists(), f"{name} is shown twice, or hides a shipped file"
        (tmp_path / name).write_text(text.replace("/data/pets", str(data)))
    return tmp_path


def load(repository: Path, name: str) -> Study:
    layers = top_level_layers([repository / name], repository / "config")
    return load_study(merged(layers), repository / "config", layers=layers)


def test_there_is_an_example_of_each_kind():
    folders = {Path(name).parent.name for name, _ in FENCED}
    assert folders == {"", "corpora", "scales", "methods", "benchmarks", "experiments"}
    assert README.count("```yaml") == len(FENCED)


def test_the_example_of_a_study_is_valid_and_uses_the_others(repository):
    study = load(repository, "my_study.yaml")
    assert set(study.corpora) == {"pets"} and set(study.experiments) == {"pets_table"}
    variant = next(run for _, run in study.runs if run.variant)
    assert variant.name == "amorlip_alpha-no_previous-seed0"
    assert (variant.settings["beta_max"], variant.settings["alpha"], variant.settings["rho"]) == (0, 0.999, 6.5)
    assert variant.recipe.logit_scale.lr == 1e-4 and variant.recipe.optimizer.weight_decay == 0.2


@pytest.mark.parametrize("name", [name for name, _ in FENCED if "/" not in name])
def test_each_top_level_example_is_valid(repository, name):
    assert load(repository, name).runs


def test_the_shown_error_is_the_real_one(repository):
    path = repository / "my_study.yaml"
    path.write_text(f"# as shown\n{path.read_text()}".replace("[pets]", "[pet]"))
    with pytest.raises(Exception, match="scales: unknown file in scales/ 'pet'; did you mean 'pets'") as caught:
        load(repository, "my_study.yaml")
    (shown,) = re.findall(r"^    (my_study\.yaml, line .*)$", README, re.MULTILINE)
    assert str(caught.value) == f"{repository}/{shown}"


def test_every_linked_heading_exists():
    anchors = {
        re.sub(r"[^\w\s-]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", README, re.M)
    }
    for target in re.findall(r"\]\(#([^)]+)\)", README):
        assert target in anchors, target
    for target in re.findall(r"\]\((\.\./[^)]+)\)", README):
        assert (REPOSITORY / "config" / target).exists(), target
