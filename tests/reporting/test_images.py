"""Every figure looks as it did when someone last looked at it.

After a wanted change, draw them again with `AMORLIP_NEW_IMAGES=1 pytest tests/reporting/test_images.py`, and look.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from matplotlib.testing.compare import compare_images

from amorlip.config.experiment import FIGURES, Experiment
from amorlip.config.selection import FigureStyle
from amorlip.reporting import figures

IMAGES = Path(__file__).parent / "images"
TOLERANCE = 4
"""Root mean square of the differences, of 255: another build of FreeType moves edges of letters by less."""
LOOKS = FigureStyle(width_in=5, height_in=3, dpi=60)


@pytest.mark.parametrize("function", FIGURES)
def test_a_figure_looks_as_before(study, tmp_path, function):
    fake = study(methods=("clip", "fastclip", "amorlip_l2log"), seeds=(0, 1), scales=("medium", "large"))
    options, fields = fake.filled(function)
    experiment = Experiment(kind="figure", function=function, title="t", caption="c", options=options)
    drawn = {form: tmp_path / f"{function}.{form}" for form in ("png", "pdf")}
    figures.draw("t", fake.shown(experiment, style=LOOKS, **fields), drawn)
    expected = IMAGES / f"{function}.png"
    if os.environ.get("AMORLIP_NEW_IMAGES"):
        IMAGES.mkdir(exist_ok=True)
        expected.write_bytes(drawn["png"].read_bytes())
    copy = tmp_path / "expected.png"  # the comparison writes next to it
    copy.write_bytes(expected.read_bytes())
    assert compare_images(str(copy), str(drawn["png"]), TOLERANCE) is None


def test_there_is_no_image_of_a_figure_that_is_gone():
    assert {path.stem for path in IMAGES.iterdir()} == set(FIGURES)


def test_the_comparison_sees_one_changed_number(study, tmp_path):
    images = []
    for value in (0.1, 0.4):
        fake = study()
        experiment = Experiment(kind="figure", function="difference_to_baseline", title="t", caption="c")
        paths = fake.evaluations()
        fake.evaluation(fake.runs[-1], "digits", value)
        images.append(tmp_path / f"{value}.png")
        outputs = {"png": images[-1], "pdf": tmp_path / "x.pdf"}
        figures.draw("t", fake.shown(experiment, style=LOOKS, evaluations=paths), outputs)
    assert "RMS" in compare_images(str(images[0]), str(images[1]), TOLERANCE)
