"""The figures of gains, sweeps and reproduction, and the table of epochs: what they show, from result files."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.config.experiment import Experiment, options_type
from amorlip.config.selection import FigureStyle
from amorlip.reporting import figures, style, tables

METHODS = ("clip", "fastclip", "amorlip_l2log")


def draw(fake, function, values=None, chosen=None, **fields):
    """The figure; `values`: (method, variant or None) → the score of all its tasks."""
    chosen = chosen or {}
    experiment = Experiment(kind="figure", function=function, title="A", caption="c", options=chosen)
    if values is not None:
        fields["evaluations"] = [
            fake.evaluation(run, task, values[run.method, run.variant])
            for run in fake.runs
            for task in fake.benchmark.tasks
        ]
    with style.context(FigureStyle()):
        options = options_type("figure", function)(**chosen)
        return figures.FUNCTIONS[function](fake.shown(experiment, **fields), options)


def test_gains_are_differences_from_the_baseline(study):
    values = {("clip", None): 0.20, ("fastclip", None): 0.215, ("amorlip_l2log", None): 0.19}
    figure = draw(study(methods=METHODS), "gain_over_baseline", values)
    (axes,) = figure.axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == pytest.approx([1.5, 1.5, -1.0, -1.0])
    assert {text.get_text() for text in axes.texts} == {"+1.50", "−1.00"}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["Avg.", "Avg. 9"]
    with pytest.raises(AmorlipError, match="did you mean 'digits'"):
        draw(study(), "gain_over_baseline", chosen={"columns": ["digit"]})


def test_a_sweep_is_in_the_order_of_the_values(study):
    fake = study(variants=("a", "b"))
    values = {("clip", None): 0.1, ("amorlip_l2log", None): 0.3, ("amorlip_l2log", "v0"): 0.4}
    values["amorlip_l2log", "v1"] = 0.2
    chosen = {"title": "β_T", "values": {"v0": 1.0, "amorlip_l2log": 0.8, "v1": 0.0}, "columns": ["digits"]}
    (axes,) = draw(fake, "sweep", values, chosen).axes
    points, baseline = axes.lines[0], axes.lines[-1]
    assert list(points.get_ydata()) == pytest.approx([20, 30, 40])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.8", "1"]
    assert list(baseline.get_ydata()) == pytest.approx([10, 10])


def test_reproduction_has_a_point_per_published_cell(study, tmp_path):
    lines = ["demo,clip,,digits,12,percent", "demo,clip,,all,9.5,percent", "demo,other,,digits,1,percent"]
    (tmp_path / "p.csv").write_text("\n".join(["scale,method,variant,column,value,unit", *lines]))
    values = {("clip", None): 0.10, ("amorlip_l2log", None): 0.2}
    figure = draw(study(), "reproduction", values, published=tmp_path / "p.csv")
    (axes,) = figure.axes
    assert axes.lines[0].get_xydata().tolist() == [pytest.approx([12, 10]), pytest.approx([9.5, 10])]
    assert "2 cells: mean difference −0.75, largest 2.00" in axes.get_title(loc="left").replace("\n", " ")


def epochs_table(fake, curves, **chosen):
    """The csv file; `curves`: method → score after each epoch."""
    paths = []
    for run in fake.runs:
        head = {"scale": run.scale, "method": run.method, "variant": None, "seed": run.seed}
        lines = [{"kind": "run", **head, "steps_per_epoch": 1, "epochs": 4, "samples": 1, "parameters": 1}]
        for epoch, value in enumerate(curves[run.method], start=1):
            tasks = {"openmoji": {"acc1": value}}
            lines.append({"kind": "epoch", "epoch": epoch, "step": epoch, "seconds": 1.0, "tasks": tasks})
        paths.append(fake.folder / f"{run.method}.jsonl")
        paths[-1].write_text("".join(json.dumps(line) + "\n" for line in lines))
    experiment = Experiment(kind="table", function="epochs_to_accuracy", title="A", caption="c", options=chosen)
    outputs = {form: fake.folder / f"t.{form}" for form in ("csv", "md", "tex", "html")}
    tables.write("t", fake.shown(experiment, metrics=paths), outputs)
    return pd.read_csv(outputs["csv"]).set_index("method"), outputs["md"].read_text()


def test_epochs_to_the_final_score_of_others(study):
    curves = {"clip": [0.1, 0.2, 0.3, 0.3], "fastclip": [0.1, 0.3, 0.4, 0.6], "amorlip_l2log": [0.05, 0.25, 0.2, 0.5]}
    table, text = epochs_table(study(methods=METHODS), curves)
    assert table.loc["clip", ["final", "reached", "epochs", "ahead"]].tolist() == [30, 4, 4, 4]
    assert table.loc["fastclip", "final"] == 60 and table.loc["fastclip", ["reached", "ahead"]].isna().all()
    assert "| CLIP | 30.00 | 4 | 4 | 4 |" in text and "| FastCLIP-v3 | 60.00 | – | 4 | – |" in text
    curves["amorlip_l2log"] = [0.2, 0.3, 0.35, 0.7]
    table, _ = epochs_table(study(methods=METHODS), curves)
    assert table["reached"].tolist() == [2, 4] and table["ahead"].tolist() == [1, 4]


def test_epochs_without_the_method_or_the_task(study):
    table, _ = epochs_table(study(methods=("clip",)), {"clip": [0.1, 0.2]})
    assert table["reached"].isna().all()
    with pytest.raises(AmorlipError, match="options.task: unknown task"):
        epochs_table(study(methods=("clip",)), {"clip": [0.1]}, task="digits")


def test_a_watermark_is_drawn_last_and_moves_nothing(study, tmp_path):
    fake = study()
    experiment = Experiment(kind="figure", function="gain_over_baseline", title="A", caption="c")
    for word in ("", "synthetic"):
        outputs = {"png": tmp_path / f"x{word}.png", "pdf": tmp_path / f"x{word}.pdf"}
        figures.draw("x", fake.shown(experiment), outputs, watermark=word)
    assert (tmp_path / "x.png").read_bytes() != (tmp_path / "xsynthetic.png").read_bytes()


def test_accuracy_over_cost_is_at_the_pairs_and_hours_of_each_epoch(study):
    fake = study(epochs=3, methods=METHODS)
    records = [fake.provenance(run, ranks=number + 1) for number, run in enumerate(fake.runs)]
    figure = draw(fake, "accuracy_over_cost", provenance=records)
    samples, hours = figure.axes
    assert [list(line.get_xdata()) for line in samples.lines] == [[7814, 15628, 23442]] * 3
    for ranks, line in enumerate(hours.lines, 1):  # an epoch took 12 seconds
        assert list(line.get_xdata()) == pytest.approx([12 / 3600 * epoch * ranks for epoch in (1, 2, 3)])
    for left, right in zip(samples.lines, hours.lines, strict=True):
        assert list(left.get_ydata()) == list(right.get_ydata())
    (alone,) = draw(fake, "accuracy_over_cost", chosen={"costs": ["samples"]}).axes  # without any provenance
    assert len(alone.lines) == 3
    with pytest.raises(AmorlipError, match="did you mean 'openmoji'"):
        draw(fake, "accuracy_over_cost", chosen={"task": "openmojii"})
    assert "No task was evaluated" in draw(study(), "accuracy_over_cost", metrics=[]).texts[0].get_text()


def test_log_z_error_has_a_line_per_method_that_logged_it(study):
    fake = study(methods=METHODS, scales=("medium", "large"))
    figure = draw(fake, "log_z_error")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Medium", "Large"]
    logged = [
        record["log_z_unexplained"]
        for line in (fake.folder / "runs/medium/amorlip_l2log-seed0/metrics.jsonl").read_text().splitlines()
        if "log_z_unexplained" in (record := json.loads(line))
    ]
    line, constant = figure.axes[0].lines
    assert list(line.get_ydata()) == pytest.approx(logged) and list(constant.get_ydata()) == [1, 1]
    assert figure.axes[0].get_yscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["AmorLIP l2-log"]
    assert "No method logged" in draw(study(methods=("clip",)), "log_z_error").texts[0].get_text()


def test_a_sweep_of_several_methods_has_a_line_for_each(study):
    fake = study(methods=("clip", "amorlip_l2log"), variants=("half",))
    values = {("clip", None): 0.1, ("amorlip_l2log", None): 0.3, ("amorlip_l2log", "v0"): 0.4}
    chosen = {"values": {"clip": 1024, "amorlip_l2log": 1024, "v0": 512}, "columns": ["digits"]}
    (axes,) = draw(fake, "sweep", values, chosen).axes
    lines = [(list(one.lines[0].get_xdata()), list(one.lines[0].get_ydata())) for one in axes.containers]
    assert lines == [([1], pytest.approx([10])), ([0, 1], pytest.approx([40, 30]))]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["512", "1024"]
    assert all(line.get_linestyle() != "--" for line in axes.lines)  # CLIP is a line of its own
