"""The columns of step time and memory: from the runs' provenance.json to each format of a table."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.reporting import cost, tables

VALUES = {"clip": (100.0, 1000.0), "amorlip_l2log": (102.161, 1003.3)}
"""Method → median time of a step [ms], peak memory [MiB]."""


def provenance(fake, run, device="H100", **fields):
    """Write a run's record."""
    step, memory = VALUES[run.method]
    values = {"median_step_ms": step + run.seed, "peak_memory_mib": memory + run.seed} | fields
    return fake.provenance(run, device, **values)


def render(fake, experiment, quantity, records, **fields):
    experiment = experiment.model_copy(update={"options": {"cost": quantity}})
    outputs = {form: fake.folder / f"t.{form}" for form in ("csv", "md", "tex", "html")}
    tables.write("t", fake.shown(experiment, provenance=records, **fields), outputs)
    text = {form: path.read_text(encoding="utf-8") for form, path in outputs.items()}
    return pd.read_csv(outputs["csv"]).set_index("method"), text


@pytest.mark.parametrize(("quantity", "over"), [("step_time", 100 * (103.161 / 101 - 1)), ("memory", 0.3297)])
def test_the_percentage_is_of_the_means_over_seeds(study, table_experiment, quantity, over):
    fake = study(seeds=(0, 1, 2))
    frame, text = render(fake, table_experiment, quantity, [provenance(fake, run) for run in fake.runs])
    assert frame.loc["amorlip_l2log", f"{quantity}_over_clip"] == pytest.approx(over, abs=1e-3)
    assert frame.loc["clip", f"{quantity}_over_clip"] == 0
    row = next(line for line in text["md"].splitlines() if "AmorLIP l2-log" in line)
    assert row.endswith(f"| {over:.2f} |")
    assert all(f"{over:.2f}" in text[form] for form in ("tex", "html"))
    own = {"step_time": "101.00 ms on H100", "memory": "1,001.00 MiB on H100"}[quantity]
    assert own in text["md"] and "in percent over CLIP's" in text["md"]


def test_another_device_is_marked(study, table_experiment):
    fake = study()
    devices = {"clip": "H100", "amorlip_l2log": "A100"}
    records = [provenance(fake, run, devices[run.method]) for run in fake.runs]
    _, text = render(fake, table_experiment, "step_time", records)
    assert "2.16† |" in text["md"] and r"2.16\textdagger{}" in text["tex"] and "AmorLIP l2-log on A100" in text["md"]
    records = [provenance(fake, run) for run in fake.runs]
    assert "†" not in render(fake, table_experiment, "step_time", records)[1]["md"]


def test_records_of_an_earlier_version_have_no_cost(study, table_experiment):
    fake = study()
    clip, amorlip = fake.runs
    records = [provenance(fake, clip), provenance(fake, amorlip, median_step_ms=None)]
    frame, text = render(fake, table_experiment, "step_time", records)
    assert pd.isna(frame.loc["amorlip_l2log", "step_time_over_clip"])
    assert next(line for line in text["md"].splitlines() if "AmorLIP l2-log" in line).endswith("| – |")


def benchmark(fake, *, drop=()):
    """Write a file as `amorlip bench paper-table2` does, with rows for all methods of VALUES but those in `drop`."""
    rows = [
        {"scale": fake.runs[0].scale, "method": method, "variant": None, "device": "H200", "median_step_ms": step,
         "peak_memory_mib": memory, "step_time_over_clip": step - 100, "memory_over_clip": memory / 10 - 100}
        for method, (step, memory) in VALUES.items() if method not in drop
    ]  # fmt: skip
    path = fake.folder / "costs.json"
    path.write_text(json.dumps(rows))
    return path


@pytest.mark.parametrize(("quantity", "over"), [("step_time", "2.16"), ("memory", "0.33")])
def test_costs_may_come_from_a_benchmark(study, table_experiment, quantity, over):
    fake = study(seeds=(0, 1))
    experiment = table_experiment.model_copy(update={"options": {"cost": quantity, "cost_file": str(benchmark(fake))}})
    outputs = {form: fake.folder / f"t.{form}" for form in ("csv", "md", "tex", "html")}
    tables.write("t", fake.shown(experiment), outputs)
    lines = outputs["md"].read_text(encoding="utf-8").splitlines()
    assert next(line for line in lines if "AmorLIP l2-log" in line).endswith(f"| {over} |")
    assert any("costs.json" in line for line in lines) and any("on H200" in line for line in lines)
    benchmark(fake, drop=("amorlip_l2log",))
    tables.write("t", fake.shown(experiment), outputs)
    lines = outputs["md"].read_text(encoding="utf-8").splitlines()
    assert next(line for line in lines if "AmorLIP l2-log" in line).endswith("| – |")


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"scale": "medium"}]', "no json", None])
def test_another_file_than_a_benchmark_is_one_line(tmp_path, text):
    path = tmp_path / "costs.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(AmorlipError, match=r"costs.json: .*amorlip bench paper-table2") as refused:
        cost.read_benchmark(path)
    assert "\n" not in str(refused.value)


def test_a_record_of_another_run_is_refused(study, table_experiment):
    fake = study()
    stranger = fake.runs[0].model_copy(update={"seed": 9})
    with pytest.raises(AmorlipError, match="belongs to the run"):
        render(fake, table_experiment, "memory", [provenance(fake, stranger)])


def test_a_missing_run_has_dashes_and_the_command_that_makes_it(study, table_experiment):
    fake = study(methods=("clip", "amorlip_l2log", "siglip"))
    evaluations = [path for path in fake.evaluations() if "siglip" not in str(path)]
    frame, text = render(fake, table_experiment, "memory", [], evaluations=evaluations, study="paper")
    row = next(line for line in text["md"].splitlines() if line.startswith("|  | SigLIP"))
    assert set(row.split("|")[3:-1]) == {" – "}
    assert "no result of SigLIP (Demo)" in text["html"]
    assert "snakemake --configfile results/paper/config.yaml results/paper/tables/t.md" in text["html"]
    assert "no result" not in render(fake, table_experiment, "memory", [], study="paper")[1]["html"]
