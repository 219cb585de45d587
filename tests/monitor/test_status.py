"""`amorlip status`: every state of a run, what jobs wait for, and jobs whose Snakemake has gone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from amorlip import cli
from amorlip.common import files
from amorlip.training import records
from amorlip.training.records import EpochRecord, RunRecord, StepRecord

RUN = "results/demo/runs/demo"
ID = "0a1b2c3d-1111-2222-3333-444455556666"
HOLD = (
    "import pathlib, sys; from amorlip.common.files import locked\n"
    "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def shown(capsys, *arguments: str) -> list[str]:
    cli.main(["status", *arguments])
    return capsys.readouterr().out.splitlines()


def line(lines: list[str], start: str) -> str:
    return next(line for line in lines if line.startswith(start))


def record(folder: str, step: int = 210) -> None:
    """metrics.jsonl of a run of 14 epochs of 30 steps of 256 pairs."""
    path = Path(folder) / "checkpoints/abc/metrics.jsonl"
    path.parent.mkdir(parents=True)
    run = RunRecord(scale="demo", method="clip", variant=None, seed=0, steps_per_epoch=30, epochs=14, samples=7681,
                    parameters=1)  # fmt: skip
    numbers = {"lr": 1e-3, "loss": 0.512345, "grad_norm": 1.0, "skipped_steps": 0, "samples_per_s": 256.0}
    done = StepRecord.model_validate({"step": step, "epoch": step // 30, "samples_seen": step * 256, **numbers})
    epoch = EpochRecord(epoch=step // 30, step=step, seconds=1, tasks={"openmoji": {"acc1": 0.0554, "acc5": 0.2}})
    path.write_text("".join(map(records.line, [run, done, epoch])) + '{"kind": "st')


def job(number: int, state: str, reason: str, run: str, name: str = ID, folder: str | None = None) -> str:
    return f"{number}|{state}|{reason}|gpu|{name}|{folder or Path.cwd()}|rule_train_wildcards_demo_{run}"


def snakemake_log(end: str = "", host: str | None = None) -> Path:
    host = host or subprocess.run(["hostname"], capture_output=True, text=True).stdout.strip()
    path = Path(".snakemake/log/2026-11-26T082936.278343.snakemake.log")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"  Host: {host}\n  User: me\nSLURM run ID: {ID}\n{end}")
    return path


def test_a_run_that_was_never_started(capsys, slurm):
    assert "not started" in line(shown(capsys), "demo/clip-seed0")


def test_a_run_that_trains_on_this_machine(capsys, slurm):
    record(f"{RUN}/clip-seed0")
    with subprocess.Popen([sys.executable, "-c", HOLD, f"{RUN}/clip-seed0"], stdin=-1, stdout=-1, text=True) as held:
        assert held.stdout and held.stdout.readline() == "held\n"
        row = line(shown(capsys), "demo/clip-seed0")
        assert files.lock_owner(Path(f"{RUN}/clip-seed0")) == held.pid
        held.communicate()
    # half of the run is left: 210 steps, one a second
    assert row.split()[1:5] == ["training", "7/14", "210/420", "256"] and row.split()[5] in (
        "0:03:30",
        "0:03:29",
        "0:03:28",
    )
    assert "0.5123" in row and "openmoji acc1 0.0554" in row
    assert files.lock_owner(Path(f"{RUN}/clip-seed0")) is None
    assert "stopped" in line(shown(capsys), "demo/clip-seed0")


def test_a_run_that_is_done_with_its_evaluations(capsys, slurm):
    record(f"{RUN}/clip-seed0", step=420)
    Path(f"{RUN}/clip-seed0/model.safetensors").touch()
    for task in ("openmoji", "digits"):
        path = Path(f"results/demo/evaluations/demo/clip-seed0/{task}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    lines = shown(capsys)
    assert lines[0] == "demo: 1 of 2 runs done"
    row = line(lines, "demo/clip-seed0")
    assert row.split()[1:4] == ["done", "14/14", "420/420"] and row.endswith("2/9")


def test_a_run_that_failed_says_why(capsys, slurm):
    log = Path("results/demo/logs/train/demo/clip-seed0.log")
    log.parent.mkdir(parents=True)
    log.write_text("08:38:47 demo/clip-seed0: step 3\namorlip train: step 3: not finite\n")
    lines = shown(capsys)
    assert "failed" in line(lines, "demo/clip-seed0")
    assert "demo/clip-seed0: amorlip train: step 3: not finite" in lines


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("PartitionTimeLimit", "PartitionTimeLimit: asks for more time than its partition allows and will never start"),
        ("Priority", "Priority: other jobs come first"),
        ("QOSMaxGRESPerUser", "QOSMaxGRESPerUser: a limit of your account, QOS or partition"),
        ("AssocGrpGRES", "AssocGrpGRES: a limit of your account"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-4]", "ReqNodeNotAvail: the nodes that it may use are down or reserved"),
        ("SomethingNew", "SomethingNew"),
        ("None", "PENDING"),
    ],
)
def test_a_job_that_waits_says_for_what(capsys, slurm, reason, words):
    slurm("squeue", job(17, "PENDING", reason, "clip-seed0"))
    lines = shown(capsys)
    row = line(lines, "demo/clip-seed0")
    assert "waiting" in row and row.endswith("17 gpu")
    assert line(lines, "demo/clip-seed0: ").startswith(f"demo/clip-seed0: {words}")


def test_a_job_that_has_just_started_and_one_of_another_folder(capsys, slurm):
    slurm(
        "squeue",
        job(17, "RUNNING", "None", "clip-seed0"),
        job(18, "RUNNING", "None", "amorlip_l2log-seed0", folder="/"),
    )
    lines = shown(capsys)
    assert "starting" in line(lines, "demo/clip-seed0") and "not started" in line(lines, "demo/amorlip_l2log-seed0")


def test_jobs_without_a_run_are_listed(capsys, slurm):
    slurm("squeue", f"19|PENDING|Resources|cpu|{ID}|{Path.cwd()}|rule_shards_wildcards_demo_train")
    assert "job 19 (rule_shards_wildcards_demo_train): Resources: waits for free nodes" in "\n".join(shown(capsys))


def test_orphans_are_jobs_whose_snakemake_has_gone(capsys, slurm):
    slurm("squeue", job(17, "RUNNING", "None", "clip-seed0"))
    log = snakemake_log()
    gone = "orphan: job 17 (rule_train_wildcards_demo_clip-seed0): the Snakemake that submitted it is no longer running"
    assert line(shown(capsys), "orphan").startswith(gone)  # killed
    with log.open("a"):  # as a running Snakemake has
        assert not [text for text in shown(capsys) if text.startswith("orphan")]
    snakemake_log(host="another-login-node")
    assert not [text for text in shown(capsys) if text.startswith("orphan")]  # it may run there
    snakemake_log(end=f"Complete log(s): {log}\n", host="another-login-node")
    assert "has ended" in line(shown(capsys), "orphan")
    log.unlink()
    assert "the log of the Snakemake that submitted it is missing" in line(shown(capsys), "orphan")


def test_a_slurm_that_does_not_answer_is_one_line(capsys, slurm):
    slurm("squeue", error="slurm_load_jobs error: Unable to contact slurm controller")
    record(f"{RUN}/clip-seed0")
    lines = shown(capsys)
    assert "stopped" in line(lines, "demo/clip-seed0")
    assert lines[-1] == "squeue failed: slurm_load_jobs error: Unable to contact slurm controller; is Slurm running?"


def test_without_slurm_only_files_count(capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert shown(capsys)[0] == "demo: 0 of 2 runs done"


def test_a_studys_file_and_watching(capsys, slurm, monkeypatch):
    Path("mine.yaml").write_text(yaml.safe_dump({"name": "mine", "seeds": [0, 1]}))
    assert shown(capsys, "mine.yaml")[0] == "mine: 0 of 4 runs done"
    seconds = []

    def sleep(time: float) -> None:
        seconds.append(time)
        if len(seconds) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli, "time", SimpleNamespace(sleep=sleep))
    with pytest.raises(SystemExit):
        cli.main(["status", "--watch", "5"])
    assert seconds == [5, 5] and capsys.readouterr().out.count("runs done") == 2


def test_a_damaged_record_is_a_note_and_hides_no_run(capsys, slurm):
    record(f"{RUN}/clip-seed0")
    path = Path(f"{RUN}/clip-seed0/checkpoints/abc/metrics.jsonl")
    path.write_text(json.dumps({"kind": "run"}) + "\n")
    cli.main(["status"])
    lines = capsys.readouterr().out.splitlines()
    (note,) = (line for line in lines if "metrics.jsonl, line 1" in line)
    assert note.startswith("demo/clip-seed0: ") and any(line.startswith("demo/amorlip_l2log-seed0") for line in lines)


def test_the_answer_comes_without_pytorch(slurm):
    code = (
        "import sys; from amorlip import cli; cli.main(['status']);"
        "assert not {'torch', 'pandas', 'pyarrow', 'open_clip', 'snakemake'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
