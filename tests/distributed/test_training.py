"""Whole runs on two gloo ranks against the same runs in one process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from amorlip.common import files
from amorlip.training import loop, records
from tests.helpers import tiny

pytestmark = pytest.mark.distributed

CASES = {
    "clip": ("clip", {}, {}),
    "micro": ("clip", {}, {"micro_batch_size": 2}),
    "fastclip": ("fastclip", {"gamma_horizon_epochs": 1}, {}),
    "amorlip": ("amorlip_l2log", {"t_lambda": 1, "target_negatives": "global"}, {}),
}


def run_of(case: str, ranks: int):
    """Without BatchNorm, whose statistics are those of a rank's own pairs."""
    objective, settings, recipe = CASES[case]
    optimizer = {"lr": 1e-3, "grad_clip": 1.0}
    return tiny.make_run(
        objective, settings, model="tiny_transformer", ranks=ranks, optimizer=optimizer, log_every_steps=1, **recipe
    )


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[int, Path]:
    """Number of ranks → folder of the runs."""
    root = tmp_path_factory.mktemp("runs")
    shards = tiny.write_corpus(root / "train")
    for case in CASES:
        loop.train(run_of(case, 1), shards, root / "one" / case, {})
    plan = {"runs": {case: run_of(case, 2).model_dump() for case in CASES}, "ports": free_ports(len(CASES) + 4)}
    (root / "plan.json").write_text(json.dumps(plan))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    launch = [*torchrun, "-m", "tests.helpers.training_worker"]
    result = subprocess.run(
        [*launch, str(root / "plan.json"), str(shards), str(root / "two")],
        capture_output=True, text=True, timeout=280, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    return {1: root / "one", 2: root / "two"}


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_train_as_one_process(trained, case):
    one, two = (records.read(trained[ranks] / case / "metrics.jsonl") for ranks in (1, 2))
    assert [(r.kind, getattr(r, "step", None)) for r in one] == [(r.kind, getattr(r, "step", None)) for r in two]
    for a, b in zip(one, two, strict=True):
        if isinstance(a, records.StepRecord):
            assert b.loss == pytest.approx(a.loss, rel=1e-3)
            assert b.grad_norm == pytest.approx(a.grad_norm, rel=1e-2)
            assert b.logit_scale == pytest.approx(a.logit_scale, rel=1e-4)
    ours, theirs = (load_file(trained[ranks] / case / "model.safetensors") for ranks in (1, 2))
    assert ours.keys() == theirs.keys()
    start = tiny.start_of("tiny_transformer")
    for name, value in ours.items():
        moved = (value - start[name]).norm()
        assert (value - theirs[name]).norm() <= 0.05 * moved + 1e-6, name


@pytest.mark.parametrize("case", ["clip", "fastclip"])
def test_a_signal_to_one_rank_takes_all_along_and_loses_nothing(trained, case):
    """Of FastCLIP, each rank saves the averages of its own samples."""
    whole, resumed = trained[2] / case, trained[2] / f"resumed_{case}"
    log = (resumed / "train.log").read_text()
    assert "a signal to another rank: stopped after step 7 of 15" in log
    assert "resumed after step 7" in log
    assert files.sha256(resumed / "model.safetensors") == files.sha256(whole / "model.safetensors")


def test_state_per_sample_goes_on_with_another_number_of_ranks(trained, tmp_path):
    """The two ranks' last step is trained by one process."""
    [before] = (trained[2] / "fastclip" / "checkpoints").iterdir()
    [own] = (trained[1] / "fastclip" / "checkpoints").iterdir()
    names = [path.name for path in before.glob("*14-rank*")]
    assert sorted(names) == ["step-00000014-rank0.pt", "step-00000014-rank1.pt"]
    shutil.copytree(before, tmp_path / "checkpoints" / own.name)
    for path in (tmp_path / "checkpoints" / own.name).glob("step-*15*"):
        path.unlink()
    loop.train(run_of("fastclip", 1), trained[1].parent / "train", tmp_path, {})
    assert "resumed after step 14" in (tmp_path / "train.log").read_text()
    ours, theirs = (records.read(folder / "metrics.jsonl")[-2] for folder in (tmp_path, trained[1] / "fastclip"))
    assert ours.step == theirs.step == 15 and ours.loss == pytest.approx(theirs.loss, rel=1e-3)


NODE = """
import sys
from pathlib import Path
from amorlip.common.slurm import Node
from amorlip.training import launch
sys.exit(launch.launch(2, [sys.executable, *sys.argv[3:]], Node(int(sys.argv[1]), 2), Path(sys.argv[2])))
"""


def test_two_nodes_train_as_one(trained, tmp_path):
    """Two launches with a rank each, the second one first, find each other through a folder that both see."""
    arguments = [tiny.__file__, json.dumps(run_of("clip", 2).model_dump()), str(trained[1].parent / "train")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "SLURM_JOB_ID": "7"}
    nodes = []
    for number in (1, 0):
        command = [sys.executable, "-c", NODE, str(number), str(tmp_path / "shared"), *arguments, str(tmp_path / "run")]
        nodes.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
    assert [node.wait(timeout=120) for node in nodes] == [0, 0]
    weights = [files.sha256(folder / "model.safetensors") for folder in (tmp_path / "run", trained[2] / "clip")]
    assert weights[0] == weights[1]
    assert not list((tmp_path / "shared").iterdir())


LAUNCH = """
import sys
import time
from amorlip.training import launch
sys.exit(launch.launch(2, [sys.executable, *sys.argv[1:]]))
"""


def wait_for(process: subprocess.Popen, path: Path, text: str) -> None:
    while not path.exists() or text not in path.read_text():
        assert process.poll() is None
        time.sleep(0.05)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGUSR1", 75), ("SIGINT", 130)])
def test_a_launched_run_tells_whether_it_may_be_started_again(trained, tmp_path, name, code):
    """SIGTERM and Ctrl-C to the launcher alone; SIGUSR1 to all processes, as a scheduler does."""
    run = tiny.make_run(model="tiny_transformer", ranks=2, epochs=2000)
    arguments = [tiny.__file__, json.dumps(run.model_dump()), str(trained[1].parent / "train"), str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *arguments], stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored below a shell's `&`
    )  # fmt: skip
    try:
        wait_for(process, tmp_path / "train.log", "step 8/")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) >= 2
        for pid in [process.pid, *(children if name == "SIGUSR1" else [])]:
            os.kill(int(pid), getattr(signal, name))
        assert process.wait(timeout=60) == code
    finally:
        process.kill()
    assert ("stopped after step" in (tmp_path / "train.log").read_text()) == (code == 75)
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_a_launched_run_that_fails_has_its_ranks_exit_code(tmp_path):
    code = [sys.executable, "-c", LAUNCH, "-c", "import os, sys; sys.exit(3 * int(os.environ['RANK']))"]
    assert subprocess.run(code, stderr=subprocess.DEVNULL).returncode == 3
    code[-1] = "import os; assert os.environ['WORLD_SIZE'] == '2'"
    assert subprocess.run(code, stderr=subprocess.DEVNULL).returncode == 0


RANK = """
import os, pathlib, signal, sys, time
got = set()
for number in (signal.SIGURG, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: got.add(number))
pathlib.Path(sys.argv[1] + os.environ["RANK"]).touch()
while len(got) < 2:
    time.sleep(0.05)
sys.exit(75)
"""


def test_a_schedulers_signal_to_the_launcher_alone_reaches_every_rank(tmp_path):
    """Slurm signals a step's task only, where it tracks processes by cgroups."""
    ready = tmp_path / "ready"
    process = subprocess.Popen([sys.executable, "-c", LAUNCH, "-c", RANK, str(ready)], stderr=subprocess.DEVNULL)
    try:
        for rank in "01":
            wait_for(process, tmp_path / f"ready{rank}", "")
        for number in (signal.SIGURG, signal.SIGUSR1):
            process.send_signal(number)
        assert process.wait(timeout=60) == 75
    finally:
        process.kill()


SAVES = """
import os, pathlib, signal, sys, time
def save(number, frame):
    pathlib.Path(sys.argv[1] + os.environ["RANK"] + ".saving").touch()
    time.sleep(1)
    pathlib.Path(sys.argv[1] + os.environ["RANK"] + ".saved").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
pathlib.Path(sys.argv[1] + os.environ["RANK"]).touch()
time.sleep(60)
"""


def test_a_second_signal_does_not_end_the_wait_for_ranks_that_save(tmp_path):
    """Slurm sends SIGTERM twice when a job comes first that takes the place of this one."""
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, "-c", SAVES, str(tmp_path / "rank")], stderr=subprocess.DEVNULL
    )
    try:
        for ending in ("", ".saving"):
            for rank in "01":
                wait_for(process, tmp_path / f"rank{rank}{ending}", "")
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 75
    finally:
        process.kill()
    assert all((tmp_path / f"rank{rank}.saved").exists() for rank in "01")
