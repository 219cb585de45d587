"""Each number of a run, with the file and line that it was written in and the comment there."""

from __future__ import annotations

import pytest

from amorlip.study import load_study, top_level_layers
from amorlip.study_report.sources import Setting, headers, settings
from tests.helpers import REPOSITORY

CONFIG = REPOSITORY / "config"


@pytest.fixture(scope="module")
def paper():
    layers = top_level_layers([CONFIG / "paper.yaml"], CONFIG)
    from amorlip.config.load import merged

    return load_study(merged(layers), CONFIG, layers=layers)


def of_method(study, method: str, section: str) -> dict[str, Setting]:
    run = next(run for _, run in study.runs if (run.scale, run.method) == ("medium", method))
    resolved = next(row[3] for row in study.rows("table1") if row[:2] == ("medium", method))
    return {setting.key: setting for setting in settings(run, resolved)[section]}


def line_of(setting: Setting) -> str:
    """The line of the file that a setting names."""
    path, _, number = setting.place.partition(", line ")
    return (REPOSITORY / path).read_text().splitlines()[int(number) - 1]


def test_every_written_key_names_the_line_that_has_it(paper):
    for method in ("clip", "amorlip_l2log"):
        for section in ("settings", "recipe"):
            for key, setting in of_method(paper, method, section).items():
                if setting.place:
                    assert key.rpartition(".")[2] in line_of(setting), setting


def test_the_uppermost_file_and_its_comment(paper):
    clip, amorlip = (of_method(paper, method, "recipe") for method in ("clip", "amorlip_l2log"))
    assert (clip["optimizer.weight_decay"].value, clip["optimizer.weight_decay"].comment) == ("0.1", "FastCLIP")
    assert amorlip["optimizer.weight_decay"].value == "0.2"
    assert amorlip["optimizer.weight_decay"].comment.startswith("release: the default of its parser")
    assert amorlip["optimizer.grad_clip"].is_unpublished and not amorlip["optimizer.lr"].is_unpublished


def test_a_comment_of_several_lines(paper):
    assert of_method(paper, "clip", "recipe")["epochs"].comment.endswith("a multiple of its loader's workers")
    # the next key's comment is not its
    assert of_method(paper, "clip", "recipe")["batch_size"].comment == "paper"


def test_defaults_have_no_place(paper):
    setting = of_method(paper, "clip", "recipe")["compile"]
    assert (setting.place, setting.comment) == ("", "")


def test_what_a_file_says_of_all_its_numbers(paper):
    resolved = next(row[3] for row in paper.rows("table1"))
    told = dict(headers(resolved))
    assert "unverified printed in none of these sources" in " ".join(told["config/scales/medium.yaml"].split())
    assert not any("yaml-language-server" in text for text in told.values())


@pytest.mark.parametrize(
    ("line", "comment"),
    [
        ("lr: 1.0  # why", "why"),
        ("name: 'a # b'   # why", "why"),
        ("url: http://x/#part", ""),
        ("note: it's  # unclosed quotation mark", "unclosed quotation mark"),
        ("key: value", ""),
    ],
)
def test_comments_and_what_only_looks_like_one(tmp_path, line, comment):
    from amorlip.study_report.sources import _comment

    (tmp_path / "x.yaml").write_text(f"{line}\n")
    assert _comment(str(tmp_path / "x.yaml"), 1) == comment
