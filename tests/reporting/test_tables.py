"""The main table: numbers, marks and notes in each of its formats."""

from __future__ import annotations

import json
import math
import re
import statistics
from typing import get_args

import pandas as pd
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.config import experiment
from amorlip.config.benchmark import TaskDefinition
from amorlip.config.display import CorpusLabel, external_label
from amorlip.config.experiment import Experiment
from amorlip.reporting import comparison, tables
from amorlip.reporting.latex import escape as latex_escape
from amorlip.reporting.metric_names import METRICS, SHORT
from amorlip.stages import table
from tests.helpers import REPOSITORY

FORMATS = ("csv", "md", "tex", "html")
PUBLISHED = REPOSITORY / "config" / "paper" / "table1.csv"


def render(study, experiment: Experiment, evaluations=None, **background) -> dict[str, str]:
    """Format → content of the written file."""
    outputs = {form: study.folder / f"table1.{form}" for form in FORMATS}
    given = background if evaluations is None else {"evaluations": evaluations, **background}
    tables.write("table1", study.shown(experiment, **given), outputs)
    return {form: path.read_text(encoding="utf-8") for form, path in outputs.items()}


def frame(study) -> pd.DataFrame:
    """The written csv file."""
    return pd.read_csv(study.folder / "table1.csv", keep_default_na=False, na_values=[""])


def with_options(experiment: Experiment, **chosen) -> Experiment:
    """The experiment with these options."""
    return experiment.model_copy(update={"options": chosen})


# ---------------------------------------------------------------- csv


def test_csv_with_one_seed_holds_every_task_in_percent(study, table_experiment):
    fake = study()
    render(fake, table_experiment)
    table = frame(fake)
    keys = [*fake.benchmark.tasks, "shifts", "all"]
    assert list(table.columns) == ["scale", "method", "variant", "view", "seeds", *keys]
    assert table["method"].tolist() == ["chance", "clip", "amorlip_l2log"]
    assert table["seeds"].tolist()[1:] == [1, 1]
    for _, row in table.iloc[1:].iterrows():
        for task in fake.benchmark.tasks:
            path = fake.folder / "evaluations" / "demo" / f"{row['method']}-seed0" / f"{task}.json"
            assert row[task] == pytest.approx(100 * json.loads(path.read_text())["value"], abs=5e-5)
        assert row["all"] == pytest.approx(statistics.mean(row[task] for task in fake.benchmark.tasks), abs=1e-4)
    assert table.loc[0, "digits"] == 10 and table.loc[0, "openmoji"] == 0.06
    assert math.isnan(table.loc[0, "styles"]) and math.isnan(table.loc[0, "all"])


def test_csv_with_seeds_has_their_standard_deviation(study, table_experiment):
    fake = study(seeds=(0, 1, 2), methods=("clip",))
    values = [0.10, 0.13, 0.19]
    paths = [fake.evaluation(run, "digits", value) for run, value in zip(fake.runs, values, strict=True)]
    text = render(fake, table_experiment, paths)
    row = frame(fake).iloc[1]
    assert row["seeds"] == 3
    assert row["digits"] == pytest.approx(14.0)
    assert row["digits_std"] == pytest.approx(4.5826)  # sqrt((16 + 1 + 25) / 2)
    assert math.isnan(row["openmoji"]) and math.isnan(row["openmoji_std"])
    assert "14.00 ± 4.58" in text["md"]
    assert r"14.00\,{\tiny$\pm$\,4.58}" in text["tex"]


# ---------------------------------------------------------------- best and second


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 3.0, 2.0], [0, 1, 2]),
        ([3.0, 3.0, 2.0], [1, 1, 0]),
        ([3.0, 2.0, 2.0], [1, 2, 2]),
        ([3.001, 3.004, 2.0], [1, 1, 0]),  # both are printed as 3.00
        ([3.0, math.nan, 2.0], [1, 0, 2]),
        ([3.0, math.nan, math.nan], [0, 0, 0]),
        ([math.nan, math.nan], [0, 0]),
        ([5.0], [0]),
    ],
)
def test_ranks_by_hand(values, expected):
    assert comparison.ranks(pd.DataFrame({"task": values}))["task"].tolist() == expected


def test_marks_are_those_of_each_scale_and_alike_in_all_formats(study, table_experiment):
    fake = study(scales=("medium", "large"), methods=("clip", "siglip", "neuclip"))
    scores = {"medium": [0.20, 0.40, 0.30], "large": [0.70, 0.60, 0.50]}
    paths = [
        fake.evaluation(run, "digits", scores[run.scale][index % 3]) for index, run in enumerate(fake.runs)
    ]  # fmt: skip
    text = render(fake, with_options(table_experiment, columns=["digits"]), paths)
    assert re.findall(r"\| (\S+) \|$", text["md"], re.M)[2:] == [
        "10.00", "20.00", "**40.00**", "<ins>30.00</ins>", "**70.00**", "<ins>60.00</ins>", "50.00",
    ]  # fmt: skip
    assert re.findall(r"& (\S+) \\\\", text["tex"])[-7:] == [
        "10.00", "20.00", r"\textbf{40.00}", r"\underline{30.00}", r"\textbf{70.00}", r"\underline{60.00}", "50.00",
    ]  # fmt: skip
    assert re.findall(r'<td class="value"><(\w+)>([^<]*)<', text["html"]) == [
        ("span", "10.00"), ("span", "20.00"), ("b", "40.00"), ("u", "30.00"), ("b", "70.00"), ("u", "60.00"),
        ("span", "50.00"),
    ]  # fmt: skip


def test_missing_values_show_a_dash_and_are_explained(study, table_experiment):
    fake = study(seeds=(0, 1))
    paths = fake.evaluations()
    text = render(fake, table_experiment, paths[1:])
    lines = text["md"].splitlines()
    clip = next(line for line in lines if "| CLIP |" in line)
    assert "–" not in clip  # the other seed has the task
    assert "± " not in clip.split("|")[3]
    assert "CLIP, Demo: fewer seeds than 2 in OpenMoji (1), Avg. (1), Avg. 9 (1)." in text["md"]
    text = render(fake, table_experiment, [path for path in paths if path.stem != "digits"])
    assert text["md"].count("| – |") == 4  # Digits and Avg. 9 of two methods
    assert "An average is given only if all its tasks were measured." in text["md"]
    assert r"\textendash{}" in text["tex"] and "–" in text["html"]


# ---------------------------------------------------------------- headings and notes


def test_groups_and_columns_come_from_the_benchmark(study, table_experiment):
    fake = study()
    text = render(fake, table_experiment)
    assert r"\multicolumn{4}{c}{Unseen style} & \multicolumn{2}{c}{Seen styles}" in text["tex"]
    assert r"\cmidrule(lr){2-5} \cmidrule(lr){6-7} \cmidrule(lr){8-11} \cmidrule(lr){12-12}" in text["tex"]
    assert 'colspan="4" scope="colgroup"><span>Unseen style</span>' in text["html"]
    fake.benchmark = fake.benchmark.model_copy(update={"columns": []})
    assert r"\multicolumn{9}{c}{Tasks} & \multicolumn{2}{c}{Averages}" in render(fake, table_experiment)["tex"]


def test_notes_say_what_was_averaged_over_what(study, table_experiment):
    one = render(study(), with_options(table_experiment, notes=["Mind the <gap> & 5%."]))
    assert "- One seed (0) per method" in one["md"]
    assert "- Avg.: plain mean of OpenMoji, Fluent 3D, Sketches." in one["md"]
    assert "- Avg. 9: plain mean of all 9 tasks." in one["md"]
    assert "Mind the &lt;gap&gt; &amp; 5%." in one["html"]
    assert r"Mind the $<$gap$>$ \& 5\%." in one["tex"]
    three = render(study(seeds=(3, 1, 2)), with_options(table_experiment, columns=["digits"]))
    assert "Mean ± standard deviation (divisor n − 1) over 3 seeds (3, 1, 2)." in three["md"]
    assert "The csv file has all 9 tasks." in three["md"]


def test_yield_of_corpora_next_to_the_papers(study, table_experiment):
    fake = study()
    manifest = fake.folder / "manifest.json"
    label = CorpusLabel(title="Conceptual Captions", published_pairs=2274566)
    found = {
        "corpus": "cc3m", "split": "train", "requested": 3318333, "downloaded": 2000000, "failed": {}, "yield": 0.62,
        "samples": 2000000, "refused": {}, "max_sample_id": 3318332, "digest": "d", "shards": [],
    }  # fmt: skip
    manifest.write_text(json.dumps(found))
    text = render(fake, table_experiment, manifests=[manifest], corpora={"cc3m": label})
    expected = "Training corpus Conceptual Captions: 2,000,000 usable pairs of 3,318,333 (62.0%)."
    assert f"- {expected} The paper's authors had 2,274,566.\n" in text["md"]
    unlabelled = render(fake, table_experiment, manifests=[manifest])["md"]
    assert "Training corpus cc3m: 2,000,000" in unlabelled and "authors" not in unlabelled
    manifest.write_text("{}")
    with pytest.raises(AmorlipError, match="manifest.json: corpus: Field required"):
        render(fake, table_experiment, manifests=[manifest])


def test_published_numbers_and_differences_are_views_of_their_own(study, table_experiment):
    fake = study(scales=("medium",))
    task = fake.benchmark.tasks["openmoji"].model_copy(update={"title": "IN-1k"})
    fake.benchmark = fake.benchmark.model_copy(update={"tasks": {"imagenet1k": task}, "averages": {}, "columns": []})
    shown = with_options(table_experiment, published="table1")
    paths = [fake.evaluation(run, "imagenet1k", value) for run, value in zip(fake.runs, (0.01, 0.02), strict=True)]
    text = render(fake, shown, paths, published=PUBLISHED)
    rows = [line for line in text["md"].splitlines() if line.startswith(("| Medium", "|  | ", "**"))]
    assert rows == [
        "**Zero-shot results: Measured here**",
        "|  | *Chance* | 0.06 |",
        "| Medium | CLIP | <ins>1.00</ins> |",
        "|  | AmorLIP l2-log | **2.00** |",
        "**Zero-shot results: Published**",
        "| Medium | *CLIP* | 16.84 |",
        "|  | *AmorLIP l2-log* | 21.50 |",
        "**Zero-shot results: Measured here minus published**",
        "| Medium | CLIP | −15.84 |",
        "|  | AmorLIP l2-log | −19.50 |",
    ]
    assert "As printed in the paper, not measured here." in text["md"]
    assert text["csv"].splitlines() == [
        "scale,method,variant,view,seeds,imagenet1k",
        ",chance,,ours,,0.0600",
        "medium,clip,,ours,1,1.0000",
        "medium,amorlip_l2log,,ours,1,2.0000",
        "medium,clip,,published,,16.8400",
        "medium,amorlip_l2log,,published,,21.5000",
        "medium,clip,,difference,1,-15.8400",
        "medium,amorlip_l2log,,difference,1,-19.5000",
    ]
    labels = re.findall(r"\\label\{([^}]*)\}", text["tex"])
    assert labels == ["tab:table1", "tab:table1:published", "tab:table1:difference"]
    assert re.findall(r"<caption>(.*)</caption>", text["html"]) == [
        "Zero-shot results: Measured here", "Zero-shot results: Published",
        "Zero-shot results: Measured here minus published",
    ]  # fmt: skip
    with pytest.raises(AmorlipError, match="the file of 'table1' was not given"):
        render(fake, shown, paths)


def test_each_column_names_its_metric(study, table_experiment):
    text = render(study(), table_experiment)
    header = text["md"].splitlines()[2]
    assert "| Unseen style<br>OpenMoji<br>*top-1* | <br>Fluent 3D<br>*top-1* |" in header
    assert "Other<br>Digits<br>*top-1* | <br>Held-out names<br>*recall@1* | <br>Association<br>*Jaccard*" in header
    assert "<br>Worst style<br>*worst group* | All<br>Avg. 9<br>*mean*" in header
    assert r"\shortstack[r]{Digits\\\tiny\textit{top-1}}" in text["tex"]
    assert "Held-out names<span>recall@1</span>" in text["html"]


def test_every_main_metric_has_a_name():
    known = set(get_args(TaskDefinition.model_fields["main_metric"].annotation))
    assert known == set(METRICS) == set(SHORT)


def test_later_work_is_a_block_of_the_published_view(study, table_experiment):
    fake = study(scales=("medium", "demo"))
    fake.benchmark = fake.benchmark.model_copy(
        update={"averages": {"average_38": fake.benchmark.averages["all"]}, "columns": []}
    )
    shown = with_options(table_experiment, later_work="later_work", columns=["digits", "average_38"])
    text = render(fake, shown, later_work=PUBLISHED.with_name("later_work.csv"))
    rows = [line for line in text["md"].splitlines() if line.startswith("|")][2:]
    source = "NeuCLIP's authors (ICLR 2026, arXiv 2511.08417)"
    assert rows[3].startswith("| Demo | CLIP |")
    assert rows[7:10] == [f"| Medium, runs by {source} | *OpenCLIP* |  | 21.84 |", "|  | *SigLIP* |  | 22.19 |",
                          "|  | *AmorLIP* |  | 22.89 |"]  # fmt: skip
    assert len(rows) == 12 and text["md"].count("Zero-shot results:") == 2  # no view of differences
    assert (
        f"Runs by {source}: as printed in their paper. They trained these methods themselves, on 2,720,000"
        in text["md"]
    )
    assert "NeuCLIP" not in text["csv"]


def test_columns_without_a_group_are_shown_too(study, table_experiment):
    fake = study()
    fake.benchmark = fake.benchmark.model_copy(update={"columns": fake.benchmark.columns[:1]})
    text = render(fake, with_options(table_experiment, columns=["openmoji", "digits"]))
    assert "Unseen style<br>OpenMoji" in text["md"] and "Other<br>Digits" in text["md"]


def test_published_rows_of_other_scales_do_not_appear(study, table_experiment):
    text = render(study(), with_options(table_experiment, published="table1"), published=PUBLISHED)
    assert "published" not in text["md"]


# ---------------------------------------------------------------- refusals and form


def test_misspelled_options_columns_and_functions_are_named(study, table_experiment):
    with pytest.raises(AmorlipError, match="experiment table1: options: .*'colums'; did you mean 'columns'"):
        render(study(), with_options(table_experiment, colums=["digits"]))
    with pytest.raises(AmorlipError, match="unknown column 'digit'; did you mean 'digits'"):
        render(study(), with_options(table_experiment, columns=["digit"]))
    with pytest.raises(AmorlipError, match="unknown table function 'comparson'; did you mean 'comparison'"):
        render(study(), table_experiment.model_copy(update={"function": "comparson"}))


def test_every_function_has_options():
    assert set(tables.FUNCTIONS) == set(experiment.TABLES)


def test_the_same_results_give_the_same_bytes(study, table_experiment):
    fake = study(seeds=(0, 1))
    assert render(fake, table_experiment) == render(fake, table_experiment, fake.evaluations()[::-1])


def test_html_is_well_formed_and_whole(study, table_experiment):
    from html.parser import HTMLParser

    page = render(study(), table_experiment)["html"]
    void, stack = {"meta"}, []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            assert not {"src", "href"} & {name for name, _ in attrs}
            if tag not in void:
                stack.append(tag)

        def handle_endtag(self, tag):
            assert stack.pop() == tag

    Parser().feed(page)
    assert stack == []


def test_latex_escapes_what_means_something_to_it():
    assert latex_escape(r"a_b & 50% {x} #1 $ ~ ^ \ – τ") == (
        r"a\_b \& 50\% \{x\} \#1 \$ \textasciitilde{} \textasciicircum{} \textbackslash{} \textendash{} $\tau$"
    )


# ---------------------------------------------------------------- missing sets and other weights


def test_a_missing_set_is_named_and_no_average_is_shown(study, table_experiment):
    fake = study()
    paths = fake.evaluations()
    reason = "the dataset repository x/y is gated: accept its terms on its page, then set HF_TOKEN"
    for run in fake.runs:
        path = fake.evaluation(run, "digits", None)
        path.write_text(json.dumps({**json.loads(path.read_text()), "missing": reason}))
    text = render(fake, table_experiment, paths)
    assert f"Missing: Digits ({reason})." in text["md"]
    assert "An average is given only if all its tasks were measured." in text["md"]
    table = frame(fake).iloc[1:]
    assert table["all"].isna().all() and table["digits"].isna().all()
    assert table["shifts"].notna().all() and table["openmoji"].notna().all()


def test_other_weights_are_a_block_that_claims_no_publisher(study, table_experiment):
    fake = study()
    label = external_label("vit", "ViT-B/32")
    paths = fake.evaluations() + [fake.evaluation(label, task, 0.5) for task in fake.benchmark.tasks]
    settings = fake.shown(table_experiment, runs=[*fake.runs, label], evaluations=paths)
    outputs = [fake.folder / f"table1.{form}" for form in FORMATS]
    table.run(settings.model_dump(mode="json"), "table1", outputs)
    text = outputs[FORMATS.index("md")].read_text(encoding="utf-8")
    assert "| Other weights | ViT-B/32 |" in text
    assert "Other weights: evaluated in this study, not trained in it." in text
    assert "One seed (0) per method" in text
    row = frame(fake).iloc[-1]
    assert (row["scale"], row["method"], row["all"]) == ("external", "vit", 50)
