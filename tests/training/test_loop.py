"""Whole runs of fifteen steps: results, interruptions, refusals."""

from __future__ import annotations

import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from amorlip import models
from amorlip.common import files, provenance
from amorlip.common.errors import AmorlipError
from amorlip.config.benchmark import Task
from amorlip.config.run import Run
from amorlip.evaluation import score
from amorlip.evaluation.record import Scores
from amorlip.objectives import amorlip as objectives_amorlip
from amorlip.objectives.base import Loss
from amorlip.training import checkpoint, loop, restart, signals
from amorlip.training import records as training_records
from amorlip.training.journal import Journal
from amorlip.training.limit import Limit
from amorlip.training.records import Provenance
from amorlip.training.session import Session

CLOCKS = {"training_seconds", "wall_seconds"}
TIMES = {"samples_per_s", "seconds"}
TASK = Task(title="t", kind="classification", main_metric="acc1", source={"kind": "folder", "path": "x"})
AMORLIP = {"t_lambda": 1, "rho": 6.5, "rho_schedule": [{"from_fraction": 0.5, "value": -8.0}]}
SCALE = {"lr": 1e-3, "drop": {"temperature": 0.0699, "factor": 0.3}}


def weights(output: Path) -> str:
    return files.sha256(output / "model.safetensors")


def records(output: Path) -> list[dict]:
    return [record.model_dump(exclude=TIMES) for record in training_records.read(output / "metrics.jsonl")]


def signal_at(monkeypatch: pytest.MonkeyPatch, step: int, number: signal.Signals = signal.SIGURG) -> None:
    """Within update number `step`, the process gets a signal."""
    original = loop.Trainer._train_on

    def train_on(self, batch, index):
        if index + 1 == step:
            os.kill(os.getpid(), number)
        original(self, batch, index)

    monkeypatch.setattr(loop.Trainer, "_train_on", train_on)


@pytest.fixture(scope="module")
def finished(corpus, make_run, tmp_path_factory) -> tuple[Run, Path]:
    """An uninterrupted AmorLIP run."""
    run = make_run("amorlip_l2log", AMORLIP, logit_scale=SCALE)
    output = tmp_path_factory.mktemp("finished") / "run"
    loop.train(run, corpus, output, {})
    return run, output


def test_results_are_complete_and_the_weights_come_last(finished):
    run, output = finished
    names = ["run.yaml", "provenance.json", "metrics.jsonl", "model.safetensors"]
    times = [(output / name).stat().st_mtime_ns for name in names]
    assert times == sorted(times)
    assert Run(**yaml.safe_load((output / "run.yaml").read_text())) == run
    found = json.loads((output / "provenance.json").read_text())
    assert found["corpus"] == {"name": "tiny", "digest": f"{44:064d}", "pairs": 44}
    assert (found["seed"], found["samples_seen"], found["skipped_steps"]) == (0, 120, 0)
    assert 50 < found["peak_memory_mib"] < 100_000
    speeds = [
        record.samples_per_s for record in training_records.read(output / "metrics.jsonl") if record.kind == "step"
    ]
    assert found["median_step_ms"] == pytest.approx(1000 * 8 / statistics.median(speeds))
    assert "tiny/amorlip_l2log-seed0: step 15/15  epoch 3/3" in (output / "train.log").read_text()
    assert list((output / "tensorboard").glob("events*"))
    trained, start = models.load(output / "model.safetensors", "tiny").network, models.create("tiny", seed=0)
    assert not torch.equal(trained.text_projection, start.text_projection)


def test_metrics_follow_the_contract(finished):
    found = [record.model_dump() for record in training_records.read(finished[1] / "metrics.jsonl")]
    assert [(r["kind"], r.get("step"), r.get("epoch")) for r in found[1:]] == [
        ("step", 4, 1), ("epoch", 5, 1), ("step", 8, 2), ("epoch", 10, 2), ("step", 12, 3), ("step", 15, 3),
        ("epoch", 15, 3),
    ]  # fmt: skip
    head = {"kind": "run", "scale": "tiny", "method": "amorlip_l2log", "variant": None, "seed": 0}
    facts = {"steps_per_epoch": 5, "epochs": 3, "samples": 44}
    assert {**head, **facts}.items() <= found[0].items()
    assert found[0]["parameters"] > 1e5
    step = found[3]
    assert step["samples_seen"] == 64
    logged = {"loss", "lr", "logit_scale", "logit_scale_lr", "grad_norm", "samples_per_s"}
    assert logged | {"log_z_error", "log_z_unexplained"} <= step.keys()
    assert found[2]["tasks"] == {} and found[2]["seconds"] > 0


@pytest.mark.parametrize("step", [3, 5, 9, 15])
def test_an_interrupted_run_ends_in_the_same_weights(finished, corpus, tmp_path, monkeypatch, step):
    """After a signal in the middle of a window, at the end of an epoch and in the last step."""
    run, output = finished
    with monkeypatch.context() as patch:
        signal_at(patch, step)
        with pytest.raises(signals.Interrupted) as left:
            loop.train(run, corpus, tmp_path, {})
    assert left.value.code == 75
    assert not (tmp_path / "model.safetensors").exists()
    assert f"SIGURG: stopped after step {step} of 15" in (tmp_path / "train.log").read_text()
    loop.train(run, corpus, tmp_path, {})
    place = "already trained: its files are written again" if step == 15 else f"resumed after step {step}"
    assert place in (tmp_path / "train.log").read_text()
    assert weights(tmp_path) == weights(output)
    assert records(tmp_path) == records(output)


def test_a_run_leaves_before_its_limit_and_ends_in_the_same_weights(finished, corpus, tmp_path, monkeypatch):
    """In the middle of an epoch; then before an evaluation that would take too long; then without a limit."""
    run, output = finished
    with monkeypatch.context() as patch:
        end_limit_at(patch, 7)
        with pytest.raises(signals.Interrupted):
            loop.train(run, corpus, tmp_path, {})
    with monkeypatch.context() as patch:
        evaluation_takes(patch, 60 * 60)
        with pytest.raises(signals.Interrupted):
            loop.train(run, corpus, tmp_path, {}, limit=Limit(minutes=30))
    log = (tmp_path / "train.log").read_text()
    assert "the job's time limit is near: stopped after step 7 of 15" in log
    assert "the job's time limit is near: stopped after step 10 of 15" in log
    loop.train(run, corpus, tmp_path, {})
    assert (weights(tmp_path), records(tmp_path)) == (weights(output), records(output))


def end_limit_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Within update number `step`, the job's time limit comes near."""
    original = loop.Trainer._train_on

    def train_on(self, batch, index):
        original(self, batch, index)
        if index + 1 == step:
            self.limit.end = time.time()

    monkeypatch.setattr(loop.Trainer, "_train_on", train_on)


def evaluation_takes(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The evaluation of an earlier epoch took so long."""
    original = loop.Trainer.train

    def train(self, request):
        self.slowest_evaluation_s = seconds
        original(self, request)

    monkeypatch.setattr(loop.Trainer, "train", train)


def test_checkpoints_by_time(corpus, make_run, tmp_path, monkeypatch):
    """Every step takes 25 s: a checkpoint after each third one, besides those at the ends of epochs (5 and 10)."""
    clock, saved = itertools.count(0, 25), []
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    now = [0]
    train_on, save = loop.Trainer._train_on, checkpoint.Checkpoints.save

    def slow(self, batch, step):
        now[0] = next(clock)
        train_on(self, batch, step)

    monkeypatch.setattr(loop.Trainer, "_train_on", slow)
    monkeypatch.setattr(
        checkpoint.Checkpoints, "save", lambda self, step, *state: (saved.append(step), save(self, step, *state))
    )
    loop.train(make_run(epochs=2, checkpoint_every_steps=100, checkpoint_every_minutes=1), corpus, tmp_path, {})
    assert saved == [4, 5, 8, 10]


def test_a_run_that_a_cluster_starts_again_without_progress_stops(corpus, make_run, tmp_path, monkeypatch):
    """Outside of a Slurm job nothing starts it by itself, and it may be killed as often as one likes."""
    monkeypatch.setattr(loop.Trainer, "_train_on", fail)
    for job in (None, None, None, "7", "8"):
        monkeypatch.setattr(loop.slurm, "job_id", lambda job=job: job)
        with pytest.raises(RuntimeError, match="a broken node"):
            loop.train(make_run(), corpus, tmp_path, {}, limit=Limit())
    with pytest.raises(AmorlipError, match=r"no progress: the last 2 starts \(Slurm jobs 7, 8\)"):
        loop.train(make_run(), corpus, tmp_path, {}, limit=Limit())


def fail(*_: object) -> None:
    raise RuntimeError("a broken node")


def test_settings_that_change_no_weight_go_on_from_the_checkpoint(finished, corpus, make_run, tmp_path, monkeypatch):
    run, output = finished
    with monkeypatch.context() as patch:
        signal_at(patch, 7)
        with pytest.raises(signals.Interrupted):
            loop.train(run, corpus, tmp_path, {})
    other = make_run(
        "amorlip_l2log", AMORLIP, logit_scale=SCALE, log_every_steps=1, checkpoint_every_steps=2, on_nonfinite="skip"
    )
    loop.train(other, corpus, tmp_path, {})
    assert "resumed after step 7" in (tmp_path / "train.log").read_text()
    assert weights(tmp_path) == weights(output)


def test_a_finished_run_is_only_exported_again(finished, corpus, monkeypatch):
    run, output = finished
    before, lines = weights(output), records(output)
    (output / "model.safetensors").unlink()

    def never(*_args, **_kwargs):
        raise AssertionError("a finished run was trained again")

    monkeypatch.setattr(loop.Trainer, "_train_on", never)
    loop.train(run, corpus, output, {})
    assert weights(output) == before
    assert records(output) == lines


def provenance_of(output: Path) -> Provenance:
    return Provenance.read(output / "provenance.json")


def test_a_repeated_export_names_the_code_that_trained(finished, corpus, monkeypatch):
    """Though the code is another by then; the log says that nothing was trained."""
    run, output = finished
    before = provenance_of(output)
    assert [start.from_step for start in before.starts] == [1]
    (output / "model.safetensors").unlink()
    monkeypatch.setattr(provenance, "revision", lambda: "new")
    monkeypatch.setattr(provenance, "source_digest", lambda: "new")
    loop.train(run, corpus, output, {})
    assert provenance_of(output).model_dump(exclude=CLOCKS) == before.model_dump(exclude=CLOCKS)
    log = (output / "train.log").read_text().splitlines()
    assert "already trained: its files are written again, and no step is trained" in log[-2]
    assert f"Other code trained it (revision {before.git_revision}); to train again: snakemake --forcerun" in log[-2]


def test_a_run_that_two_revisions_computed_names_both(finished, corpus, tmp_path, monkeypatch):
    run, _ = finished
    for step, revision in ((3, "first"), (7, "second"), (9, "second"), (None, "third")):
        with monkeypatch.context() as patch:
            patch.setattr(provenance, "revision", lambda revision=revision: revision)
            if step is None:
                loop.train(run, corpus, tmp_path, {})
                break
            signal_at(patch, step)
            with pytest.raises(signals.Interrupted):
                loop.train(run, corpus, tmp_path, {})
    found = provenance_of(tmp_path)
    assert [(start.from_step, start.git_revision) for start in found.starts] == [
        (1, "first"),
        (4, "second"),
        (10, "third"),
    ]
    assert found.git_revision == "third"
    # the step time is of the code that is named; its only windows are those of the steps 12 and 15
    windows = [record for record in training_records.read(tmp_path / "metrics.jsonl") if record.kind == "step"]
    assert found.median_step_ms == pytest.approx(1000 * 8 / statistics.mean(w.samples_per_s for w in windows[-2:]))


@pytest.mark.parametrize("step", [7, None])
@pytest.mark.parametrize("by_request", [True, False])
def test_a_run_is_trained_again_from_its_start_on_request(finished, corpus, tmp_path, monkeypatch, step, by_request):
    """A finished or unfinished one, by other code, which is edited so that all losses are three times as large."""
    run, output = finished
    with monkeypatch.context() as patch:
        if step:
            signal_at(patch, step)
            with pytest.raises(signals.Interrupted):
                loop.train(run, corpus, tmp_path, {})
        else:
            loop.train(run, corpus, tmp_path, {})
    original = objectives_amorlip.AmorlipObjective.compute
    scaled = lambda self, features: Loss(3 * original(self, features).loss)  # noqa: E731
    monkeypatch.setattr(objectives_amorlip.AmorlipObjective, "compute", scaled)
    monkeypatch.setattr(provenance, "revision", lambda: "edited")
    if by_request:
        restart.request(tmp_path)
    loop.train(run, corpus, tmp_path, {}, from_start=not by_request)
    assert [(start.from_step, start.git_revision) for start in provenance_of(tmp_path).starts] == [(1, "edited")]
    assert weights(tmp_path) != weights(output)
    assert len(records(tmp_path)) == len(records(output))
    folders = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert len(folders) == 2 and folders[1] == f"{folders[0]}-replaced-1"
    assert "trained again from the start" in (tmp_path / "train.log").read_text()
    assert not (tmp_path / restart.MARKER).exists()
    again = weights(tmp_path)
    loop.train(run, corpus, tmp_path, {})  # without a new request it is finished
    assert weights(tmp_path) == again and len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_a_checkpoint_of_an_earlier_version_has_unknown_provenance(finished, corpus, tmp_path, monkeypatch):
    run, _ = finished
    written = Journal.state_dict
    without = lambda self: {key: value for key, value in written(self).items() if key != "starts"}  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "state_dict", without)
        loop.train(run, corpus, tmp_path, {})
    loop.train(run, corpus, tmp_path, {})
    found = provenance_of(tmp_path)
    assert (found.starts, found.git_revision, found.device) == ([], None, "unknown")


def test_a_checkpoint_of_another_order_is_refused_unless_the_run_is_finished(finished, corpus, tmp_path, monkeypatch):
    """Within an epoch, pairs would be read twice and others not at all."""
    run, output = finished
    written = Session.state_dict
    with monkeypatch.context() as patch:
        patch.setattr(Session, "state_dict", lambda self, step: {**written(self, step), "order": 1})
        with monkeypatch.context() as at_step_7:
            signal_at(at_step_7, 7)
            with pytest.raises(signals.Interrupted):
                loop.train(run, corpus, tmp_path, {})
    with pytest.raises(AmorlipError, match=r"step-00000007\.pt was written .* in another order"):
        loop.train(run, corpus, tmp_path, {})
    with monkeypatch.context() as patch:
        patch.setattr(loop.order, "VERSION", 1)
        patch.setattr(Session, "state_dict", lambda self, step: {**written(self, step), "order": 1})
        loop.train(run, corpus, tmp_path, {})
    (tmp_path / "model.safetensors").unlink()
    loop.train(run, corpus, tmp_path, {})
    assert weights(tmp_path) == weights(output)


def test_a_damaged_newest_checkpoint_costs_only_its_steps(finished, corpus, tmp_path, monkeypatch):
    run, output = finished
    with monkeypatch.context() as patch:
        signal_at(patch, 12)
        with pytest.raises(signals.Interrupted):
            loop.train(run, corpus, tmp_path, {})
    newest = max((tmp_path / "checkpoints").glob("*/step-*.pt"))
    newest.write_bytes(newest.read_bytes()[:10000])
    loop.train(run, corpus, tmp_path, {})
    log = (tmp_path / "train.log").read_text()
    assert "step-00000012.pt cannot be used" in log and "resumed after step 10" in log
    assert weights(tmp_path) == weights(output)
    assert records(tmp_path) == records(output)


def test_another_seed_gives_other_weights(finished, corpus, make_run, tmp_path):
    loop.train(make_run("amorlip_l2log", AMORLIP, seed=1, logit_scale=SCALE), corpus, tmp_path, {})
    assert weights(tmp_path) != weights(finished[1])


# ---------------------------------------------------------------- evaluation after each epoch


@pytest.fixture
def evaluations(monkeypatch) -> list[torch.Tensor]:
    """The state of torch's generator at each evaluation, which draws from it, as no evaluation should."""
    calls: list[torch.Tensor] = []

    def evaluate(encoder, task, folder):
        calls.append(torch.get_rng_state())
        torch.rand(3)
        assert encoder.precision == "bfloat16" and task is TASK and folder == Path("files")
        return Scores(main_metric="acc1", value=0.25, metrics={"acc1": 0.25, "acc5": 0.5})

    monkeypatch.setattr(score, "evaluate", evaluate)
    return calls


def test_tasks_are_recorded_and_change_nothing(finished, evaluations, corpus, make_run, tmp_path):
    run = make_run("amorlip_l2log", AMORLIP, logit_scale=SCALE, epoch_tasks=["openmoji"])
    loop.train(run, corpus, tmp_path, {"openmoji": (TASK, Path("files")), "other": (TASK, Path("files"))})
    epochs = [r for r in records(tmp_path) if r["kind"] == "epoch"]
    assert [r["tasks"] for r in epochs] == [{"openmoji": {"acc1": 0.25, "acc5": 0.5}}] * 3
    assert len(evaluations) == 3
    assert weights(tmp_path) == weights(finished[1])


def test_a_kill_during_evaluation_repeats_it_alone(evaluations, corpus, make_run, tmp_path, monkeypatch):
    run, folders = make_run(epoch_tasks=["openmoji"]), {"openmoji": (TASK, Path("files"))}

    def die(*_args, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(score, "evaluate", die)
        with pytest.raises(KeyboardInterrupt):
            loop.train(run, corpus, tmp_path, folders)
    loop.train(run, corpus, tmp_path, folders)
    assert "resumed after step 5" in (tmp_path / "train.log").read_text()
    assert [r["epoch"] for r in records(tmp_path) if r["kind"] == "epoch"] == [1, 2, 3]
    loop.train(run, corpus, tmp_path, folders)
    assert len(evaluations) == 3
    assert all(torch.equal(state, evaluations[0]) for state in evaluations)


# ---------------------------------------------------------------- trouble


@pytest.fixture
def poisoned(monkeypatch) -> None:
    """The loss of step 7 is not a number."""
    from amorlip.objectives.clip import Objective

    original = Objective.compute

    def compute(self, features):
        result = original(self, features)
        result.loss = result.loss * float("nan") if features.step == 6 else result.loss
        return result

    monkeypatch.setattr(Objective, "compute", compute)


def test_a_loss_that_is_not_finite_stops_at_the_next_window(poisoned, corpus, make_run, tmp_path):
    with pytest.raises(AmorlipError, match="step 7: not finite, with loss nan") as caught:
        loop.train(make_run(), corpus, tmp_path, {})
    assert "\n" not in str(caught.value)
    folder = next((tmp_path / "checkpoints").iterdir())
    assert checkpoint.Checkpoints(folder).latest()[0] == 5
    assert not (tmp_path / "model.safetensors").exists()


def test_skip_goes_on_from_where_stop_left(poisoned, corpus, make_run, tmp_path):
    with pytest.raises(AmorlipError):
        loop.train(make_run(), corpus, tmp_path, {})
    loop.train(make_run(on_nonfinite="skip"), corpus, tmp_path, {})
    assert "resumed after step 5" in (tmp_path / "train.log").read_text()
    assert json.loads((tmp_path / "provenance.json").read_text())["skipped_steps"] == 1
    steps = [r for r in records(tmp_path) if r["kind"] == "step"]
    assert [r["skipped_steps"] for r in steps] == [0, 1, 1, 1]
    assert all(r["loss"] is not None for r in steps)


def test_missing_records_are_noticed(finished, corpus, make_run, tmp_path, monkeypatch):
    run = make_run()
    with monkeypatch.context() as patch:
        signal_at(patch, 6)
        with pytest.raises(signals.Interrupted):
            loop.train(run, corpus, tmp_path, {})
    next((tmp_path / "checkpoints").glob("*/metrics.jsonl")).unlink()
    with pytest.raises(AmorlipError, match="has 0 records .* but 3 were written; delete"):
        loop.train(run, corpus, tmp_path, {})


HOLD = """
import sys, time
from pathlib import Path
from amorlip.common import files, provenance
with files.locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_processes_cannot_train_into_one_folder(corpus, make_run, tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AmorlipError, match="another process is writing"):
            loop.train(make_run(), corpus, tmp_path, {})
    finally:
        holder.kill()
        holder.communicate()


def test_a_task_that_is_missing_is_not_evaluated(corpus, make_run, tmp_path):
    """None in place of its files: the run is recorded without scores."""
    loop.train(make_run(epoch_tasks=["openmoji"]), corpus, tmp_path, {"openmoji": None})
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["tasks"] for record in records if record["kind"] == "epoch"] == [{}, {}, {}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ranks": 2, "batch_size": 8}, "has ranks: 2, but 1 were started; use torchrun --nproc-per-node 2"),
        ({"batch_size": 45}, "batch_size 45 is larger than the corpus of 44 pairs"),
        ({"schedule": {"warmup_steps": 15}}, "the whole run has 15 steps"),
        ({"epoch_tasks": ["openmoji"]}, "epoch_tasks names 'openmoji'"),
        ({"model": "tny"}, "unknown model 'tny'; did you mean"),
    ],
)
def test_what_does_not_fit_together_is_one_clear_line(corpus, make_run, tmp_path, changes, message):
    with pytest.raises(AmorlipError, match=message) as caught:
        loop.train(make_run(**changes), corpus, tmp_path, {})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model.safetensors").exists()
