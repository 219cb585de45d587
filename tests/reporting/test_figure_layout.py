"""Every text of a figure is inside it and clear of the others, and every outer panel has tick labels.

The boxes are those of the written files, not of the screen.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from amorlip.config import experiment as options
from amorlip.config.experiment import Experiment
from amorlip.config.selection import FigureStyle
from amorlip.reporting import figures, style

pytestmark = pytest.mark.slow  # draws dozens of figures

STYLE = FigureStyle()
METHODS = ("clip", "siglip", "sogclr", "fastclip", "amorlip_fdiv", "amorlip_l2log", "neuclip")
SHORT = "T = {}"
LONG = "AmorLIP l2-log with the combined normalizer, T_online of {} steps, and networks of the previous epoch"
UNBROKEN = "amorlip_l2log_combined_normalizer_T_online_of_{}_steps_and_networks_of_the_previous_epoch"
WIDE = "対照学習の正規化を償却したモデルの第{}版、前のエポックのネットワークを使う"


def draw(study, function: str, folder, forms=("png",)) -> tuple[Figure, list[tuple[str, str, object]]]:
    """The figure, and file format, text and box [pixels] of each text in each of its files."""
    chosen, fields = study.filled(function)
    experiment = Experiment(
        kind="figure", function=function, title="A figure", caption="What it shows.", options=chosen
    )
    boxes = {}
    plain = Text.draw

    def record(text, renderer):
        if text.get_visible() and text.get_text().strip():
            figure = text.get_figure(root=True)
            form = "png" if figure.dpi == STYLE.dpi else "pdf"
            boxes[form, id(text)] = (form, text.get_text(), text.get_window_extent(renderer), figure.bbox.frozen())
        return plain(text, renderer)

    with pytest.MonkeyPatch.context() as patch, style.context(STYLE):
        settings = study.shown(experiment, **fields)
        figure = figures.FUNCTIONS[function](settings, options.options_type("figure", function)(**chosen))
        patch.setattr(Text, "draw", record)
        style.save(figure, {form: folder / f"x.{form}" for form in forms}, STYLE.dpi)
    return figure, list(boxes.values())


def check_texts(boxes) -> None:
    """No text leaves its file or covers another."""
    for form, text, box, page in boxes:
        inside = page.padded(1)
        assert inside.fully_contains(box.x0, box.y0) and inside.fully_contains(box.x1, box.y1), f"{form}: {text!r}"
    for (form, one, first, _), (other_form, other, second, _) in itertools.combinations(boxes, 2):
        width = min(first.x1, second.x1) - max(first.x0, second.x0)
        height = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert form != other_form or width <= 1 or height <= 1, f"{form}: {one!r} overlaps {other!r}"


def check_ticks(figure: Figure) -> None:
    """The lowest panel of each column has numbers under it, the first of each row left of it."""
    for axes in figure.axes:
        place = axes.get_subplotspec()
        peers = [other.get_subplotspec() for other in figure.axes if other.figure is axes.figure]
        lowest = not any(peer.colspan == place.colspan and peer.rowspan.start > place.rowspan.start for peer in peers)
        if lowest:
            assert [label for label in axes.get_xticklabels() if label.get_visible() and label.get_text()], place
        if place.is_first_col():
            assert [label for label in axes.get_yticklabels() if label.get_visible() and label.get_text()], place


@pytest.mark.parametrize("function", options.FIGURES)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"methods": ("amorlip_l2log",), "epochs": 1},
        {"methods": METHODS, "seeds": (0, 1, 2)},
        {"methods": METHODS, "seeds": (0, 1), "scales": ("medium", "large"), "log_every_steps": 30},
    ],
    ids=["demo", "one run, one epoch", "seven methods", "two scales"],
)
@pytest.mark.filterwarnings("error")
def test_the_repositorys_own_figures(study, function, fields, tmp_path):
    figure, boxes = draw(study(**fields), function, tmp_path, ("png", "pdf"))
    assert boxes
    check_texts(boxes)
    if figure.axes:
        check_ticks(figure)


@pytest.mark.parametrize("function", options.FIGURES)
@pytest.mark.parametrize(
    ("count", "title"),
    [*((count, LONG) for count in range(1, 13)), (4, SHORT), (5, SHORT), (12, SHORT)],
    ids=[*(f"{count} long" for count in range(1, 13)), "4 short", "5 short", "12 short"],
)
@pytest.mark.filterwarnings("error")
def test_one_to_twelve_variants(study, function, count, title, tmp_path):
    fake = study(methods=("clip",), variants=tuple(title.format(number) for number in range(count)), epochs=2)
    figure, boxes = draw(fake, function, tmp_path)
    check_texts(boxes)
    check_ticks(figure)
    shown = " ".join(text for _, text, _, _ in boxes)
    if function == "sweep":  # it shows values, not titles
        assert all(f"{(place + 9) / 10:g}" in shown for place in range(count + 1))
        return
    for variant in fake.variants:
        assert all(word in shown for word in variant.split())


@pytest.mark.parametrize("function", options.FIGURES)
@pytest.mark.parametrize("title", [LONG, UNBROKEN, WIDE], ids=["long", "unbroken", "wide"])
@pytest.mark.filterwarnings("error")
def test_long_titles_everywhere(study, function, title, tmp_path):
    """Of variants, scales, tasks and the baseline, in a grid whose last row is not full."""
    fake = study(methods=("clip",), variants=tuple(map(title.format, range(5))), scales=("a", "b", "c"), epochs=2)
    tasks = {key: task.model_copy(update={"title": title.format(key)}) for key, task in fake.benchmark.tasks.items()}
    fake = replace(fake, benchmark=fake.benchmark.model_copy(update={"tasks": tasks}))
    fake = replace(fake, title_of_methods={"clip": title.format("CLIP")}, title_of_scales=title.format("SCALE"))
    figure, boxes = draw(fake, function, tmp_path)
    check_texts(boxes)
    check_ticks(figure)
