"""A row that shows the best of several methods."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from tests.reporting.test_tables import PUBLISHED, render, with_options

METHODS = ["clip", "amorlip_fdiv", "amorlip_l2log"]
BEST = {"title": "AmorLIP (best)", "methods": ["amorlip_fdiv", "amorlip_l2log"]}


def rows_of(markdown: str) -> list[str]:
    return [line for line in markdown.splitlines() if line.startswith("|")]


def the_better(text: dict[str, str], folder, column: str) -> tuple[str, str]:
    """The titles of the better and the worse method, by the csv file."""
    table = pd.read_csv(folder / "table1.csv", keep_default_na=False, na_values=[""]).set_index("method")
    titles = {"amorlip_fdiv": "AmorLIP f-div", "amorlip_l2log": "AmorLIP l2-log"}
    better, worse = sorted(titles, key=lambda method: -table.loc[method, column])
    return titles[better], titles[worse]


@pytest.mark.parametrize("column", ["all", "digits", "openmoji"])
def test_the_best_method_is_shown_under_the_rows_title_and_named_in_a_note(study, table_experiment, column):
    fake = study(methods=METHODS)
    alone = rows_of(render(fake, table_experiment)["md"])
    text = render(fake, with_options(table_experiment, best_of=[{**BEST, "column": column}]))
    better, worse = the_better(text, fake.folder, column)
    shown = rows_of(text["md"])
    assert not any(better in line or worse in line for line in shown)
    (row,) = [line for line in shown if "AmorLIP (best)" in line]
    (its_own,) = [line for line in alone if better in line]
    numbers = re.compile(r"\d+\.\d\d")
    assert numbers.findall(row) == numbers.findall(its_own)
    assert len(shown) == len(alone) - 1
    (note,) = [line for line in text["md"].splitlines() if "the best in" in line]
    assert f": {better}, the best in " in note and worse in note


def test_the_csv_file_keeps_all_methods(study, table_experiment):
    fake = study(methods=METHODS)
    assert render(fake, with_options(table_experiment, best_of=[BEST]))["csv"] == render(fake, table_experiment)["csv"]


def test_a_study_with_one_of_the_methods_shows_it_as_it_is(study, table_experiment):
    fake = study(methods=["clip", "amorlip_l2log"])
    assert render(fake, with_options(table_experiment, best_of=[BEST]))["md"] == render(fake, table_experiment)["md"]


def test_published_numbers_of_the_first_method_are_those_of_the_row(study, table_experiment):
    fake = study(methods=METHODS)
    chosen = with_options(table_experiment, best_of=[BEST], published="table1")
    published = fake.folder / "published.csv"
    published.write_text(PUBLISHED.read_text().splitlines()[0] + "\ndemo,amorlip_fdiv,,digits,12.34,percent\n")
    shown = [line for line in rows_of(render(fake, chosen, published=published)["md"]) if "AmorLIP (best)" in line]
    assert len(shown) == 3 and "12.34" not in shown[0]
    assert shown[1].startswith("| Demo | *AmorLIP (best)* |") and "12.34" in shown[1]
    ours, theirs, difference = (
        float(re.search(r"\d+\.\d\d", line.split(" | ")[8])[0]) if number < 2 else line.split(" | ")[8]
        for number, line in enumerate(shown)
    )
    assert (theirs, difference) == (12.34, f"{ours - theirs:+.2f}".replace("-", "−"))
