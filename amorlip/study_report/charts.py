"""Small charts of what a run logged, as SVG in the page: the page's colors draw them, so dark and light work.

matplotlib would need seconds and megabytes for the hundreds of charts of a study.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from amorlip.training.records import EpochRecord, Record, StepRecord

WIDTH, HEIGHT = 300.0, 110.0
MOST_POINTS = 200
NAMES = {
    "loss": "Loss",
    "logit_scale": "Logit scale τ",
    "lr": "Learning rate",
    "grad_norm": "Gradient norm before clipping",
    "samples_per_s": "Pairs per second",
}
"""Key of a record → heading; the method's own diagnostics are shown by their keys."""
NOT_DRAWN = {"kind", "step", "epoch", "samples_seen", "skipped_steps"}


@dataclass(frozen=True)
class Chart:
    """One line over steps or epochs."""

    title: str
    path: str
    """SVG path in a box of `WIDTH` × `HEIGHT`, with gaps where a value was not finite."""
    low: str
    high: str
    first: str
    last: str
    start: int
    end: int
    over: str
    """step or epoch."""


def charts(records: Sequence[Record], metrics: dict[str, str]) -> list[Chart]:
    """Every logged quantity that changes or is known, then the epochs' scores.

    Args:
        records: of metrics.jsonl.
        metrics: task → the metric that is drawn.
    """
    steps = [record for record in records if isinstance(record, StepRecord)]
    epochs = [record for record in records if isinstance(record, EpochRecord)]
    logged = [(record.step, record.model_dump()) for record in steps]
    keys = list(dict.fromkeys(key for _, values in logged for key in values if key not in NOT_DRAWN))
    keys.sort(key=lambda key: list(NAMES).index(key) if key in NAMES else len(NAMES))
    drawn = [_chart(NAMES.get(key, key), [(at, values.get(key)) for at, values in logged], "step") for key in keys]
    for task in dict.fromkeys(task for record in epochs for task in record.tasks):
        metric = metrics.get(task, "")
        points = [(record.epoch, record.tasks.get(task, {}).get(metric)) for record in epochs]
        drawn.append(_chart(f"{task}, {metric}", points, "epoch"))
    return [chart for chart in drawn if chart is not None]


def _chart(title: str, points: Iterable[tuple[int, float | None]], over: str) -> Chart | None:
    given = list(points)
    known = [(at, value) for at, value in given if value is not None and math.isfinite(value)]
    if not known:
        return None
    low, high = min(value for _, value in known), max(value for _, value in known)
    start, end = given[0][0], given[-1][0]
    every = math.ceil(len(given) / MOST_POINTS)
    thinned = given[::every] if given[-1] in given[::every] else [*given[::every], given[-1]]

    def place(at: int, value: float) -> str:
        across = (at - start) / (end - start) if end > start else 0.5
        up = (value - low) / (high - low) if high > low else 0.5
        return f"{across * WIDTH:.1f} {HEIGHT - up * HEIGHT:.1f}"

    pieces, pen = [], "M"
    for at, value in thinned:
        if value is None or not math.isfinite(value):
            pen = "M"
            continue
        # a line of no length shows a single point, since line caps are round
        pieces.append(f"{pen}{place(at, value)}" + (f"L{place(at, value)}" if pen == "M" else ""))
        pen = "L"
    return Chart(
        title=title,
        path="".join(pieces),
        low=_number(low),
        high=_number(high),
        first=_number(known[0][1]),
        last=_number(known[-1][1]),
        start=start,
        end=end,
        over=over,
    )


def _number(value: float) -> str:
    return f"{value:.4g}"
