"""The costs in the paper's Table 2: what AmorLIP's steps and memory are over CLIP's, for each T_online and f_d.

The rows are those of config/experiments/table2a.yaml and table2b.yaml. CLIP is measured before and after each of them,
since a machine's speed drifts. A table's option `cost_file` reads the file that is written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from amorlip.bench import peer, report, steps, train
from amorlip.bench.report import Column
from amorlip.bench.train import ROOT, Case
from amorlip.common.files import write_json, write_text
from amorlip.config.run import Run
from amorlip.study import load_study
from amorlip.training.records import CostRecord, PeerRecord

EXPERIMENTS = ("table2a", "table2b")
STEPS = 32
"""Of a round: the largest T_online, so that each round has the same fits."""
HEADING = """\
Median time of a step, and peak memory of the GPU's tensors, in percent over CLIP's, which is measured before and after
each row; on a CPU the memory is the process's. Every measurement is a new process."""
COLUMNS = [
    Column("row", "{row}", is_number=False),
    Column("device", "{device}", is_number=False),
    Column("batch", "{batch}"),
    Column("step ms", "{median_step_ms:.2f}"),
    Column("over CLIP", "{step_time_over_clip:.2f}%"),
    Column("peak MiB", "{peak_memory_mib:.0f}"),
    Column("over CLIP", "{memory_over_clip:.2f}%"),
]


def paper_runs() -> list[Run]:
    """CLIP's run, then AmorLIP's: its recipe, and each variant of the two halves of Table 2."""
    selection = {"scales": ["medium"], "methods": ["clip"], "seeds": [42], "benchmark": "datacomp38"}
    study = load_study({**selection, "name": "bench_table2", "experiments": [*EXPERIMENTS]}, ROOT / "config")
    runs = {_row(run): run for name in EXPERIMENTS for _, run in study.experiment_runs(name)}
    return sorted(runs.values(), key=lambda run: run.method != "clip")


def run(
    output_json: Path,
    output_md: Path,
    *,
    tiny: bool = False,
    only: Sequence[str] | None = None,
    rounds: int = 3,
    checkout: Path | None = None,
) -> list[CostRecord]:
    """Measure, and write both files after each row.

    `tiny`: with the demo's model and batches of 16. `only`: patterns of rows (`VARIANT`, or `default`) to measure.
    `checkout`: of the AmorLIP authors' release, which is then measured for each row, too.

    Raises AmorlipError at the end if rows failed, naming them; at once if CLIP fails or `checkout` is none of it.
    """
    clip, *others = (train.tiny(run) if tiny else run for run in paper_runs())
    todo = report.selected(others, [_name(run) for run in others], only)
    release = checkout and peer.checked(checkout, todo)
    found: list[CostRecord] = []
    failures = report.Failures()
    with tempfile.TemporaryDirectory() as scratch:

        def timing(run: Run) -> steps.Timing:
            return train.timing_of(Case(run, None, STEPS, rounds), Path(scratch))

        before = timing(clip)
        found.append(_record(clip, before, before))
        for number, run in enumerate(todo, start=1):
            with failures.noted(_name(run)):
                here, released = timing(run), None
                if release:
                    with failures.noted(f"{_name(run)} compared with the release"):
                        released, here = peer.compare(release, run, STEPS, rounds, here, partial(timing, run))
                after = timing(clip)
                found.append(_record(run, here, before.middle(after), released))
                before = after
                report.progress(number, len(todo), _progress(run, found[-1]))
            _write(found, clip.recipe.batch_size, output_json, output_md)
    failures.report(output_json)
    return found


def _progress(run: Run, record: CostRecord) -> str:
    speed = f", {record.peer.ratio:.2f} × the release" if record.peer else ""
    return f"{_name(run)}: {record.step_time_over_clip:+.2f}% of CLIP's step{speed}"


def _row(run: Run) -> tuple[str, str, str]:
    return run.scale, run.method, run.variant or ""


def _name(run: Run) -> str:
    return run.variant or "default"


def _record(run: Run, timing: steps.Timing, clip: steps.Timing, released: PeerRecord | None = None) -> CostRecord:
    return CostRecord(
        scale=run.scale,
        method=run.method,
        variant=run.variant,
        device=timing.device,
        median_step_ms=timing.step_ms,
        peak_memory_mib=timing.peak_mib,
        step_time_over_clip=100 * (timing.step_ms / clip.step_ms - 1),
        memory_over_clip=100 * (timing.peak_mib / clip.peak_mib - 1),
        peer=released,
    )


def _write(found: list[CostRecord], batch: int, output_json: Path, output_md: Path) -> None:
    write_json(output_json, [record.model_dump() for record in found])
    rows = [{**r.model_dump(), "row": f"{r.method} {r.variant or ''}", "batch": batch} for r in found]
    released = [
        {"case": row["row"], "device": r.device, "batch": batch, **r.peer.model_dump()}
        for row, r in zip(rows, found, strict=True)
        if r.peer
    ]
    table = report.markdown(f"{HEADING}\n{report.machine()}", COLUMNS, rows)
    write_text(output_md, table + peer.markdown(released))
