from __future__ import annotations

from types import SimpleNamespace

from amorlip.config.load import read_yaml
from amorlip.icons import artwork
from amorlip.study import load_study
from amorlip.study_report import pictures
from tests.helpers import REPOSITORY
from tests.helpers.icon_sets import icon_source, write_package


def test_the_held_out_sets_are_named_with_their_artists(tmp_path):
    folder = tmp_path / "corpora" / "icons" / "artwork"
    write_package(folder)
    artwork.build_artwork(icon_source(), folder)
    tasks = load_study(read_yaml(REPOSITORY / "config/small.yaml"), REPOSITORY / "config").benchmark.tasks
    evidence = SimpleNamespace(results=tmp_path, trouble=[])
    assert pictures.licenses(evidence, tasks["icon_sets"]) == [("Set gamma (Artist of gamma)", "CC-BY-4.0")]
    assert pictures.licenses(evidence, tasks["icon_names"]) == []  # shown are tasks with one class an image
    assert evidence.trouble == []


def test_without_the_record_nothing_is_named(tmp_path):
    tasks = load_study(read_yaml(REPOSITORY / "config/small.yaml"), REPOSITORY / "config").benchmark.tasks
    evidence = SimpleNamespace(results=tmp_path, trouble=[])
    assert pictures.licenses(evidence, tasks["icon_sets"]) == []
