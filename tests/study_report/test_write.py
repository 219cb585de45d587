"""The report of a finished, a running and a failed study: what is in it, and what must not be."""

from __future__ import annotations

import base64
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from amorlip import cli, stage_settings
from amorlip.common.errors import AmorlipError
from amorlip.stages import study_report as stage
from amorlip.study_report import evidence
from amorlip.study_report.evidence import log_of
from amorlip.study_report.overview import overview
from amorlip.study_report.write import render, write
from tests.study_report.conftest import CHANGES, REVISION, Made, snakemake_record

SCRIPT = "<script>alert('x')</script><img src=x onerror=alert(1)>"
SEPARATE = {"th", "td", "dt", "dd", "p", "li", "pre", "figcaption"}
VOID = {"meta", "link", "img", "br", "rect", "path", "input"}


class Reader(HTMLParser):
    """Checks that a page is well formed, and gathers what tests ask for."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.scripts = 0
        self.sections: dict[str, str] = {}
        self.events: list[str] = []
        self.tables: list[dict[str, int]] = []
        self.page = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.events += [name for name in given if name.startswith("on")]
        if tag == "section" and given.get("class") == "page":
            self.page = given["id"]
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        if tag == "img":
            self.images.append(given)
        if tag == "table":
            self.tables.append({"th": 0, "scope": 0})
        if tag == "th":
            self.tables[-1]["th"] += 1
            self.tables[-1]["scope"] += "scope" in given
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag
            self.handle_data(" " if tag in SEPARATE else "")

    def handle_data(self, data):
        self.sections[self.page] = self.sections.get(self.page, "") + data


def text_of(reader: Reader, page: str) -> str:
    return " ".join(reader.sections[page].split())


@pytest.fixture(scope="module")
def page(built: Made) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(built.folder)
        write(built.study(), Path("results"), Path("study.html"))
        return Path("study.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reader(page: str) -> Reader:
    return Reader(page)


def test_every_link_has_its_target_and_every_id_is_there_once(reader):
    assert len(reader.ids) == len(set(reader.ids))
    assert {link.removeprefix("#") for link in reader.links} <= set(reader.ids)
    assert all(link.startswith("#") for link in reader.links)


def test_a_page_for_each_run_and_task(reader, made):
    study = made.study()
    pages = {f"run/{run.scale}/{run.name}" for _, run in study.runs} | {f"task/{key}" for key in study.benchmark.tasks}
    assert pages | {"overview"} <= set(reader.sections)


def test_from_a_number_of_the_table_to_its_run_in_two_clicks(page):
    """The row leads to the run, whose page has the number and its file."""
    rows = re.findall(r'<tr class="measured" data-row="demo/clip/">(.*?)</tr>', page, re.DOTALL)
    assert rows and all('href="#run/demo/clip-seed0"' in row for row in rows)
    assert 'href="#task/openmoji"' in page


def test_the_run_page_has_recipe_provenance_log_and_numbers(reader):
    text = text_of(reader, "run/demo/clip-seed0")
    for wanted in (
        "OpenMoji", "18.00", "17.00 to 19.00", "optimizer.lr 0.002", "config/scales/demo.yaml, line 13",
        REVISION, "cd" * 6, "done, weights in results/model.safetensors", "Loss", "2.8 → 1", "thing 0 1/1",
        "snakemake --configfile results/demo/config.yaml results/demo/runs/demo/clip-seed0/model.safetensors",
    ):  # fmt: skip
        assert wanted in text, wanted
    assert "flat 4 25.00 50.00" in text_of(reader, "run/demo/clip-seed0")


def test_the_overview_says_what_ran_on_what(reader):
    text = text_of(reader, "overview")
    for wanted in ("Demo (emoji). Methods: CLIP, AmorLIP (l2-log). Seeds: 0.", "1 × cpu", "2.00 hours", REVISION,
                   "Emoji, train: 8 of 8 (100.0%)", "torch 2.14.0"):  # fmt: skip
        assert wanted in text, wanted
    assert "not finished" not in text


def test_tables_have_headings_with_a_scope_and_pictures_have_texts(reader):
    corner = 2  # the two empty cells above the headings of rows, which head nothing
    assert all(table["th"] - table["scope"] in (0, corner) for table in reader.tables)
    assert len(reader.images) > 20 and all(image["alt"] for image in reader.images)


def test_nothing_is_loaded_from_elsewhere(reader, page):
    assert all((image["src"] or "").startswith("data:image/") for image in reader.images)
    assert not reader.events and reader.scripts == 2
    before_scripts = page.partition('<script type="text/plain"')[0]
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//|url\(|@import""", before_scripts)


def test_pictures_are_those_of_the_set_with_what_they_were_taken_for(page, made):
    import tarfile

    with tarfile.open(made.results / "tasks/openmoji/test/0.tar") as tar:
        first = next(name for name in tar.getnames() if name.endswith((".png", ".jpg", ".webp")))
        data = tar.extractfile(first).read()
    assert base64.b64encode(data).decode() in page
    section = page[page.index('id="task/openmoji"') : page.index('id="task/fluent_3d"')]
    assert section.count("taken for") == 12 and "baseline" not in section and "Baseline" in section
    assert "moji 1.0.0 (MIT)" in section


def test_only_our_own_drawings_are_shown(made):
    from amorlip.study_report.pictures import may_show

    tasks = made.study().benchmark.tasks
    assert {key for key, task in tasks.items() if may_show(task)} == {
        "openmoji", "fluent_3d", "heldout_instances", "subgroups", "quickdraw", "styles",
    }  # fmt: skip
    hub = {"kind": "hub", "repository": "owner/name"}
    assert not may_show(tasks["openmoji"].model_copy(update={"source": tasks["openmoji"].source.model_validate(hub)}))


def test_no_path_of_this_machine(page, made):
    assert str(made.folder) not in page and str(Path.home()) + "/" not in page
    assert str(Path(__file__).parents[2]) not in page


def test_neither_torch_nor_matplotlib_is_loaded(made):
    import subprocess

    heavy = {"torch", "matplotlib", "open_clip", "itables"}
    code = f"import amorlip.study_report.write, sys; print(*{heavy} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == ""


# ---------------------------------------------------------------- what others wrote


def test_hostile_texts_are_shown_and_not_run(copied):
    names = copied.results / "tasks/openmoji/classnames.txt"
    names.write_text("\n".join([SCRIPT] * 43) + "\n")
    log = copied.results / "demo/logs/train/demo/clip-seed0.log"
    log.write_text(f"{SCRIPT}\x1b[2J\n")
    study = copied.study(
        overrides={
            "methods": {"clip": {"title": SCRIPT}},
            "scales": {"demo": {"title": SCRIPT}},
            "experiments": {"table1": {"title": SCRIPT, "caption": SCRIPT}, "training_curves": {"caption": '"><b>'}},
            "benchmarks": {"demo": {"title": SCRIPT, "tasks": {"digits": {"title": SCRIPT}}}},
        }
    )
    text = render(evidence.gather(study, Path("results")))
    reader = Reader(text)
    assert reader.scripts == 2 and not reader.events and "<script>alert" not in text and "\x1b" not in text
    for page in ("overview", "run/demo/clip-seed0", "task/openmoji"):
        assert SCRIPT in text_of(reader, page)


def test_commands_are_those_that_snakemake_recorded(copied):
    output = "results/demo/runs/demo/clip-seed0/provenance.json"
    folder = copied.folder / ".snakemake/metadata"
    folder.mkdir(parents=True)
    name = base64.urlsafe_b64encode(output.encode()).decode()
    (folder / name).write_text(json.dumps(snakemake_record(output, "exec amorlip train --shards /data/alice/train")))
    (folder / base64.urlsafe_b64encode(b"results/demo/evaluations/demo/clip-seed0/.evaluated-1-of-1.json").decode()
     ).write_text("{damaged")  # fmt: skip
    text = text_of(Reader(render(evidence.gather(copied.study(), Path("results")))), "run/demo/clip-seed0")
    assert "train, ended 2001-09-09 01:48 UTC, took 0:01:30 exec amorlip train --shards …/train" in text


# ---------------------------------------------------------------- unfinished studies


def test_a_study_that_is_not_finished_needs_partial(copied):
    (copied.results / "demo/runs/demo/clip-seed0/model.safetensors").unlink()
    with pytest.raises(AmorlipError, match="demo: 1 of 22 jobs are not done; --partial reports what there is"):
        write(copied.study(), Path("results"), Path("x.html"))
    assert not Path("x.html").exists()
    write(copied.study(), Path("results"), Path("x.html"), partial=True)
    text = text_of(Reader(Path("x.html").read_text()), "overview")
    assert "This study is not finished. 1 of 22 jobs have no result yet." in text


def test_what_failed_and_why(copied):
    run, demo = "clip-seed0", copied.results / "demo"
    for path in (demo / "runs/demo" / run / "model.safetensors", demo / "runs/demo" / run / "provenance.json",
                 demo / "evaluations/demo" / run / ".evaluated-1-of-1.json", demo / "tables/table1.csv",
                 demo / "tables/table1.html", copied.results / "tasks/digits/task.json"):  # fmt: skip
        path.unlink()
    for path in (demo / "evaluations/demo" / run).glob("*.json"):
        path.unlink()
    (demo / "logs/train/demo" / f"{run}.log").write_text("12:00:00 step 3\namorlip train: /data/x: no GPU is free\n")
    logs = copied.results / "tasks/logs"
    logs.mkdir()
    (logs / "digits.log").write_text("amorlip tasks: the set has 3 samples\n")
    reader = Reader(render(evidence.gather(copied.study(), Path("results"))))
    text = text_of(reader, "overview")
    assert (
        "train demo clip-seed0 amorlip train: …/x: no GPU is free results/demo/logs/train/demo/clip-seed0.log" in text
    )
    assert "tasks digits amorlip tasks: the set has 3 samples" in text
    assert "Not made yet; results so far are under Runs and Tasks." in text and "2 failed" in text
    page = text_of(reader, f"run/demo/{run}")
    assert "failed: amorlip train: …/x: no GPU is free" in page and "not evaluated yet" in page
    assert "18.00" not in page and "19.00" in text_of(reader, "run/demo/amorlip_l2log-seed0")


def test_a_part_of_a_download_that_failed_is_named_once(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logs = tmp_path / "results/corpora/cc3m/logs"
    logs.mkdir(parents=True)
    (logs / "download-train-1-of-2.log").write_text("1 of 3 images\n")
    (logs / "download-train-2-of-2.log").write_text("amorlip download: the disk is full\n")
    changes = {"scales": {"demo": {"recipe": {"corpus": "cc3m"}}}, "corpora": {"cc3m": {"download": {"jobs": 2}}}}
    found = overview(evidence.gather(made.study(overrides=changes), Path("results")))
    assert [(entry.name, entry.error) for entry in found.failed] == [
        ("download_part cc3m train", "amorlip download: the disk is full")
    ]


def test_nothing_has_run_yet(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = text_of(Reader(render(evidence.gather(made.study(), Path("results")))), "overview")
    assert "22 of 22 jobs have no result yet" in text and "No corpus is ready yet." in text


@pytest.mark.parametrize(
    "path",
    [
        "demo/evaluations/demo/clip-seed0/openmoji.json", "demo/runs/demo/clip-seed0/provenance.json",
        "demo/runs/demo/clip-seed0/metrics.jsonl", "corpora/demo/train/manifest.json", "tasks/openmoji/task.json",
        "demo/evaluations/demo/clip-seed0/openmoji.parquet", "tasks/openmoji/test/0.tar",
        "corpora/demo/artwork/packages.json", "tasks/openmoji/classnames.txt", "demo/tables/table1.html",
    ],
)  # fmt: skip
def test_a_damaged_file_costs_only_its_part(copied, path):
    (copied.results / path).write_bytes(b"[]\n")
    reader = Reader(render(evidence.gather(copied.study(), Path("results"))))
    # a page of a table is any text, and an empty list of packages a valid one
    told = path in text_of(reader, "overview") or "no pictures of the task" in text_of(reader, "overview")
    assert told != path.endswith((".html", "packages.json"))


@pytest.mark.parametrize("content", [b"", b"{damaged\n", b"\xff\xfe", b'{"kind": 3}\n'])
def test_all_files_are_damaged(copied, content):
    for path in copied.results.rglob("*.*"):
        if path.is_file():
            path.write_bytes(content)
    Reader(render(evidence.gather(copied.study(), Path("results"))))


def test_a_table_that_is_older_than_the_results_is_marked(copied):
    import os

    os.utime(copied.results / "demo/tables/table1.html", (1, 1))
    text = text_of(Reader(render(evidence.gather(copied.study(), Path("results")))), "overview")
    assert "Made before the newest results" in text


def test_logs_are_where_the_rules_write_them(made):
    """The paths in workflow/rules/, with their wildcards filled in."""
    rules = Path(__file__).parents[2] / "workflow/rules"
    written = {
        re.sub(r"\{+(\w+)\}+", "*", line).replace("*/logs", "{study}/logs", 1) if "STUDY" in line else line
        for path in rules.glob("*.smk")
        for line in re.findall(r'log:\n        f?"(.*)"', path.read_text())
    }
    patterns = [re.escape(re.sub(r"\{\{?STUDY\}?\}|\{study\}", "results/demo", line)) for line in written]
    patterns = [re.sub(r"(\\\{)+\w+(\\\})+|\\\*", "[^/]+", pattern) for pattern in patterns]
    for entry in evidence.gather(made.study(), Path("results")).jobs:
        log = str(log_of(entry.job, Path("results"), "demo"))
        assert any(re.fullmatch(pattern, log) for pattern in patterns), (log, patterns)


# ---------------------------------------------------------------- stage and command


def test_the_stage_names_the_study_s_own_file_for_what_it_changes(copied):
    """Numbers of the overrides are in results/STUDY/config.yaml, which the rule before has written."""
    changes = {"overrides": {"scales": {"demo": {"recipe": {"optimizer": {"lr": 0.004}}}}}}
    study = copied.study(**changes)
    (copied.results / "demo/config.yaml").write_text(yaml.safe_dump(stage_settings.study_config(study)))
    stage.run(stage_settings.study_report(study), Path("results/demo/study.html"))
    text = text_of(Reader(Path("results/demo/study.html").read_text()), "run/demo/clip-seed0")
    assert re.search(r"optimizer.lr 0.004 +results/demo/config.yaml, line \d+ ", text)
    assert "optimizer.beta1 0.9 config/scales/demo.yaml, line 14" in text


def test_the_command(copied, capsys):
    Path("mine.yaml").write_text(yaml.safe_dump(CHANGES))
    cli.main(["report", "mine.yaml"])
    assert capsys.readouterr().out == "results/demo/study.html: 22 of 22 jobs done\n"
    (copied.results / "demo/tables/table1.csv").unlink()
    with pytest.raises(SystemExit):
        cli.main(["report", "mine.yaml"])
    assert capsys.readouterr().err.startswith("amorlip report: demo: 1 of 22 jobs are not done; --partial")
    cli.main(["report", "mine.yaml", "--partial"])
    assert capsys.readouterr().out == "results/demo/study-partial.html: 21 of 22 jobs done\n"
    cli.main(["report", "mine.yaml", "--partial", "--output", "x/y.html"])
    assert Path("x/y.html").stat().st_size > 100_000


def test_slurm_is_asked_only_while_a_run_is_not_finished(copied, monkeypatch):
    """Its client asks the network, and waits where the controller does not answer."""
    asked = []
    monkeypatch.setattr("amorlip.monitor.queue.jobs", lambda: asked.append("squeue"))
    evidence.gather(copied.study(), Path("results"))
    assert asked == []
    next(copied.results.glob("demo/runs/*/*/model.safetensors")).unlink()
    evidence.gather(copied.study(), Path("results"))
    assert asked == ["squeue"]
