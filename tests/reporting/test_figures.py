"""What the figures show, and that their files are the same whenever the results are."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from amorlip.common.errors import AmorlipError
from amorlip.config import experiment as options
from amorlip.config.display import RunLabel
from amorlip.config.experiment import AccuracyOverEpochs, Experiment
from amorlip.config.selection import FigureStyle
from amorlip.reporting import figures, style
from amorlip.reporting.accuracy_over_epochs import accuracy_over_epochs
from amorlip.reporting.difference_to_baseline import difference_to_baseline, paired_differences
from amorlip.reporting.training_curves import training_curves

STYLE = FigureStyle()
METHODS = ("clip", "siglip", "sogclr", "fastclip", "amorlip_fdiv", "amorlip_l2log", "neuclip")


def experiment(function: str, **chosen) -> Experiment:
    """A figure with these options."""
    return Experiment(kind="figure", function=function, title="A figure", caption="What it shows.", options=chosen)


def make(study, function: str, **chosen) -> Figure:
    """The figure, laid out as in its file."""
    settings = study.shown(experiment(function, **chosen))
    with style.context(STYLE):
        drawn = figures.FUNCTIONS[function](settings, options.options_type("figure", function)(**chosen))
        drawn.canvas.draw()
    return drawn


def write(study, function: str, folder: Path, **chosen) -> dict[str, bytes]:
    """Contents of the figure's files."""
    outputs = {form: folder / f"{function}.{form}" for form in ("png", "pdf")}
    figures.draw(function, study.shown(experiment(function, **chosen)), outputs)
    return {form: path.read_bytes() for form, path in outputs.items()}


# ---------------------------------------------------------------- accuracy over epochs


def test_accuracy_lines_are_means_in_percent_over_completed_epochs(study):
    fake = study(seeds=(0, 1, 2), epochs=4)
    axes = make(fake, "accuracy_over_epochs").axes[0]
    line = next(line for line in axes.lines if line.get_color() == style.COLORS["amorlip_l2log"])
    logged = [
        json.loads(text)
        for seed in fake.seeds
        for text in (fake.folder / f"runs/demo/amorlip_l2log-seed{seed}/metrics.jsonl").read_text().splitlines()
    ]
    color = matplotlib.colors.to_rgb(line.get_color())
    band = next(band for band in axes.collections if np.allclose(band.get_facecolor()[0][:3], color))
    for epoch in (1, 2, 3, 4):
        epochs = [entry for entry in logged if entry["kind"] == "epoch" and entry["epoch"] == epoch]
        values = [100 * entry["tasks"]["openmoji"]["acc1"] for entry in epochs]
        assert len(values) == 3
        assert (line.get_xdata()[epoch - 1], line.get_ydata()[epoch - 1]) == (epoch, pytest.approx(np.mean(values)))
        spread = [y for x, y in band.get_paths()[0].vertices if x == epoch]
        assert (min(spread), max(spread)) == pytest.approx((min(values), max(values)))
    assert axes.get_ylim()[0] == 0


def test_a_second_scale_with_higher_scores_is_not_cut_off(study):
    fake = study(scales=("medium", "large"))
    paths = fake.metrics()
    for path in paths:
        if "large" in str(path):
            path.write_text(path.read_text().replace('"acc1": 0.0', '"acc1": 0.5'))
    settings = fake.shown(experiment("accuracy_over_epochs"), metrics=paths)
    with style.context(FigureStyle()):
        figure = accuracy_over_epochs(settings, AccuracyOverEpochs())
    low, high = figure.axes[1].get_ylim()
    assert low == 0 and figure.axes[0].get_ylim() == (low, high)
    drawn = [max(line.get_ydata()) for axes in figure.axes for line in axes.lines]
    assert 50 < max(drawn) <= high


def test_chance_is_drawn_for_the_main_metric_only(study):
    main = make(study(), "accuracy_over_epochs").axes[0]
    assert [text.get_text() for text in main.texts] == ["chance"]
    assert main.lines[-1].get_ydata()[0] == pytest.approx(0.06)
    assert len(make(study(), "accuracy_over_epochs", metric="acc5").axes[0].texts) == 0


def test_std_band_is_narrower_than_the_range_of_three_seeds(study):
    def height(band: str) -> float:
        axes = make(study(seeds=(0, 1, 2)), "accuracy_over_epochs", band=band).axes[0]
        return np.ptp(axes.collections[0].get_paths()[0].vertices[:, 1])

    assert 0 < height("std") != height("range")


def test_unknown_tasks_and_metrics_are_named(study):
    with pytest.raises(AmorlipError, match="options.task: .*'openmojis'; did you mean 'openmoji'"):
        make(study(), "accuracy_over_epochs", task="openmojis")
    with pytest.raises(AmorlipError, match="options.metric: .*'acc2'; did you mean"):
        make(study(), "accuracy_over_epochs", metric="acc2")


def test_without_evaluations_after_epochs_the_figure_says_so(study):
    fake = study()
    paths = fake.metrics()
    for path in paths:
        lines = [line for line in path.read_text().splitlines(keepends=True) if '"epoch", ' not in line[:20]]
        path.write_text("".join(lines))
    given = fake.shown(experiment("accuracy_over_epochs"), evaluations=[], metrics=paths)
    with style.context(STYLE):
        drawn = accuracy_over_epochs(given, options.AccuracyOverEpochs())
    assert "No task was evaluated" in drawn.texts[0].get_text()


@pytest.mark.parametrize(
    ("chosen", "evaluated"), [(None, {}), ("openmoji", {}), ("openmoji", {"digits": {"acc1": 0.1}})]
)
def test_a_missing_set_is_named_in_place_of_its_figure(study, chosen, evaluated):
    """Whether it was the only one to be evaluated after each epoch, or the one that the options want."""
    fake = study(methods=("clip",), epochs=1)
    evaluations, (metrics,) = fake.evaluations(), fake.metrics()
    for path in evaluations:
        if path.stem == "openmoji":
            path.write_text(json.dumps({**json.loads(path.read_text()), "value": None, "missing": "gated"}))
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    lines = [{**line, "tasks": evaluated} if line["kind"] == "epoch" else line for line in lines]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = fake.shown(experiment("accuracy_over_epochs"), evaluations=evaluations, metrics=[metrics])
    with style.context(STYLE):
        drawn = accuracy_over_epochs(given, options.AccuracyOverEpochs(task=chosen))
        other = accuracy_over_epochs(given, options.AccuracyOverEpochs())
    assert "missing evaluation sets: OpenMoji" in drawn.texts[0].get_text()
    assert len(other.axes) == len(evaluated)


# ---------------------------------------------------------------- difference to the baseline


def paired(study, values: dict[tuple[str, int], float | None], task: str = "digits"):
    """Differences of one task from given values of (method, seed)."""
    paths = [study.evaluation(run, task, values[run.method, run.seed]) for run in study.runs]
    given = study.shown(experiment("difference_to_baseline"), evaluations=paths, metrics=[])
    return paired_differences(given, [task])


def test_differences_are_paired_by_seed(study):
    fake = study(seeds=(0, 1, 2))
    values = {("clip", 0): 0.10, ("clip", 1): 0.50, ("clip", 2): 0.30}
    values |= {("amorlip_l2log", 0): 0.12, ("amorlip_l2log", 1): 0.51, ("amorlip_l2log", 2): 0.36}
    row = paired(fake, values)["demo", "amorlip_l2log", ""].loc["digits"]
    assert row["mean"] == pytest.approx(3.0)
    assert row["std"] == pytest.approx(statistics.stdev([2, 1, 6]))


def test_a_seed_that_only_one_method_has_is_not_compared(study):
    fake = study(seeds=(0, 1))
    values = {("clip", 0): 0.10, ("clip", 1): None, ("amorlip_l2log", 0): 0.15, ("amorlip_l2log", 1): 0.9}
    row = paired(fake, values)["demo", "amorlip_l2log", ""].loc["digits"]
    assert row["mean"] == pytest.approx(5.0) and np.isnan(row["std"])


def test_bars_are_sorted_and_the_mean_is_marked(study):
    axes = make(study(), "difference_to_baseline").axes[0]
    widths = [bar.get_width() for bar in axes.patches]
    assert len(widths) == 9 and widths == sorted(widths)
    assert axes.get_title(loc="left") == f"AmorLIP l2-log: mean {statistics.mean(widths):+.2f}"
    assert axes.lines[-1].get_xdata()[0] == pytest.approx(statistics.mean(widths))
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert sorted(labels) == sorted(task.title for task in study().benchmark.tasks.values())
    assert [text.get_text() for text in axes.texts] == [f"{width:+.2f}".replace("-", "−") for width in widths]


def test_a_study_of_one_method_says_that_there_is_nothing_to_compare(study):
    assert make(study(methods=("clip",)), "difference_to_baseline").texts[0].get_text() == (
        "No method to compare with CLIP"
    )
    drawn = make(study(methods=("amorlip_l2log",)), "difference_to_baseline")
    assert drawn.texts[0].get_text() == "No method to compare with 'clip'"
    with pytest.raises(AmorlipError, match="options.tasks: .*'digit'; did you mean 'digits'"):
        make(study(), "difference_to_baseline", tasks=["digit"])


def test_missing_tasks_leave_a_gap(study):
    fake = study()
    for run in fake.runs:
        fake.evaluation(run, "digits", None)
    paths = [fake.evaluation(run, "digits", None) for run in fake.runs]
    paths += [fake.evaluation(run, "sketches", 0.2 + 0.1 * index) for index, run in enumerate(fake.runs)]
    given = fake.shown(experiment("difference_to_baseline"), evaluations=paths, metrics=[])
    with style.context(STYLE):
        axes = difference_to_baseline(given, options.DifferenceToBaseline()).axes[0]
    assert axes.get_title(loc="left") == "AmorLIP l2-log: mean +10.00 (1 of 9 tasks)"
    assert [text.get_text() for text in axes.texts] == ["+10.00"]


# ---------------------------------------------------------------- training curves


def test_training_curves_share_their_panels(study):
    drawn = make(study(methods=METHODS), "training_curves")
    panels = {axes.get_ylabel(): axes for axes in drawn.axes}
    assert {name: len(axes.lines) for name, axes in panels.items()} == {
        "InfoNCE [nats]": len(METHODS),
        "logit scale": len(METHODS),
        "log Z error / variance": 2 + 1,  # and the mark at 1
    }
    assert panels["log Z error / variance"].get_yscale() == "log"
    colors = {line.get_color() for line in panels["log Z error / variance"].lines}
    assert colors - {"black"} == {style.COLORS["amorlip_fdiv"], style.COLORS["amorlip_l2log"]}


def test_training_curves_have_a_row_a_scale(study):
    drawn = make(study(methods=("clip",), scales=("medium", "large")), "training_curves")
    assert [axes.get_ylabel() for axes in drawn.axes] == 2 * ["InfoNCE [nats]", "logit scale"]
    assert len({axes.get_title(loc="left") for axes in drawn.axes} - {""}) == 2


def test_a_study_without_amortization_has_no_panel_for_its_error(study):
    labels = [axes.get_ylabel() for axes in make(study(methods=("clip",)), "training_curves").axes]
    assert labels == ["InfoNCE [nats]", "logit scale"]


def test_an_exact_log_z_has_no_place_on_a_logarithmic_axis(study):
    fake = study()
    given = fake.shown(experiment("training_curves"))
    for path in given.metrics:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            if line["kind"] == "step":
                line["log_z_unexplained"] = 0.0 if "clip" in str(path) else line.get("log_z_unexplained", 0.0)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with style.context(STYLE):
        drawn = training_curves(given, options.TrainingCurves())
    error = next(axes for axes in drawn.axes if axes.get_ylabel() == "log Z error / variance")
    assert [line.get_color() for line in error.lines] == [style.COLORS["amorlip_l2log"], "black"]


# ---------------------------------------------------------------- looks


def test_methods_keep_their_colors_whoever_else_is_shown(study):
    everyone = style.looks(study(methods=METHODS).runs)
    assert len(set(everyone.values())) == len(METHODS)
    few = style.looks(study(methods=("clip", "neuclip")).runs)
    assert all(everyone[key] == color for key, color in few.items())


def test_variants_and_unknown_methods_differ_in_color_or_dashes():
    runs = [
        RunLabel(scale="demo", method=method, variant=variant, seed=0, title="", scale_title="Demo")
        for method, variant in [*(("amorlip_l2log", name) for name in (None, *"abcdefghijklmnop")), ("mine", None)]
    ]
    looks = style.looks(runs)
    assert len(set(looks.values())) == len(runs)
    assert len({look.color for look in list(looks.values())[:7]}) == 7
    assert looks == style.looks(runs[::-1])


def test_size_and_resolution_are_the_styles(study, tmp_path):
    write(study(), "accuracy_over_epochs", tmp_path)
    with Image.open(tmp_path / "accuracy_over_epochs.png") as image:
        assert image.size == (round(6.5 * 150), round(4.0 * 150))


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("function", options.FIGURES)
def test_equal_results_are_equal_files_with_embedded_fonts(study, tmp_path, function):
    fake = study(seeds=(0, 1))
    first = write(fake, function, tmp_path / "first")
    second = write(fake, function, tmp_path / "second")
    assert first == second
    assert first["png"].startswith(b"\x89PNG") and b"Software" not in first["png"]
    assert b"/FontFile2" in first["pdf"] and b"/CreationDate" not in first["pdf"]


def test_files_do_not_depend_on_the_process_and_pyplot_stays_out(study, tmp_path):
    """A second process with another hash seed and a user's own matplotlibrc writes the same bytes."""
    fake = study(seeds=(0, 1))
    here = write(fake, "difference_to_baseline", tmp_path / "here")
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nfigure.facecolor: red\n")
    settings = fake.shown(experiment("difference_to_baseline")).model_dump(mode="json")
    script = (
        "import json, sys; from pathlib import Path; from amorlip.stages import figure\n"
        "folder = Path(sys.argv[1])\n"
        "figure.run(json.load(sys.stdin), 'x', [folder / 'there.png', folder / 'there.pdf'])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    command = [sys.executable, "-c", script, str(tmp_path)]
    subprocess.run(command, input=json.dumps(settings), text=True, env=environment, check=True)
    assert {form: (tmp_path / f"there.{form}").read_bytes() for form in here} == here


def test_settings_of_matplotlib_are_left_as_they_were(study, tmp_path):
    before = dict(matplotlib.rcParams)
    write(study(), "training_curves", tmp_path)
    assert dict(matplotlib.rcParams) == before


def test_misspelled_options_and_functions_are_named(study, tmp_path):
    with pytest.raises(AmorlipError, match="options: .*'bands'; did you mean 'band'"):
        write(study(), "accuracy_over_epochs", tmp_path, bands="std")
    with pytest.raises(AmorlipError, match="unknown figure function 'training_curve'; did you mean 'training_curves'"):
        write(study(), "training_curve", tmp_path)


def test_every_function_has_options():
    assert set(figures.FUNCTIONS) == set(options.FIGURES)
