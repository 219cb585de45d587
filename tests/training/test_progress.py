"""Clock, window and log lines."""

from __future__ import annotations

import logging
import time

import pytest
import torch

from amorlip.training import progress
from amorlip.training.distributed import World
from amorlip.training.optim import Update
from amorlip.training.records import StepRecord

CPU = torch.device("cpu")


def update(loss: float, *, applied: bool = True, failed: bool = False, norm: float = 2.0) -> Update:
    return Update(torch.tensor(loss), torch.tensor(norm), torch.tensor(applied), torch.tensor(failed))


def bad(loss: float = float("nan"), norm: float = float("inf")) -> Update:
    return update(loss, applied=False, failed=True, norm=norm)


def test_window_averages_applied_steps_and_starts_again():
    window = progress.Window(CPU)
    for step, loss in enumerate([1.0, 2.0, 6.0], start=1):
        window.add(update(loss), step)
    window.add(bad(), 4)
    numbers = window.close(update(9.0, norm=3.0), {"logit_scale": torch.tensor(14.0)})
    assert numbers == {"loss": 3.0, "grad_norm": 3.0, "skipped_steps": 1, "logit_scale": 14.0}
    window.add(update(5.0), 5)
    assert window.close(update(5.0), {})["loss"] == 5.0


def test_window_goes_on_from_its_state():
    window, other = progress.Window(CPU), progress.Window(CPU)
    window.add(update(1.0), 1)
    other.load(window.state)
    other.add(update(3.0), 2)
    assert other.close(update(3.0), {})["loss"] == 2.0


def test_trouble_names_the_first_failure():
    window = progress.Window(CPU)
    window.add(update(1.0), 1)
    assert window.trouble("stop") is None
    window.add(bad(loss=5.0), 2)
    window.add(bad(), 3)
    assert window.trouble("stop") == "step 2: not finite, with loss 5 and gradient norm inf"
    assert window.trouble("skip") is None


def test_a_gradient_beyond_float16_is_no_failure():
    window = progress.Window(CPU)
    window.add(update(1.0, applied=False, failed=False), 1)
    assert window.trouble("stop") is None


def test_nothing_but_skipped_steps_ends_training():
    window = progress.Window(CPU)
    for step in range(1, progress.MAX_SKIPPED_IN_A_ROW):
        window.add(bad(), step)
    assert window.trouble("skip") is None
    window.add(bad(), progress.MAX_SKIPPED_IN_A_ROW)
    assert "50 steps in a row" in window.trouble("skip")
    window.add(update(1.0), progress.MAX_SKIPPED_IN_A_ROW + 1)
    assert window.trouble("skip") is None


def test_clock_leaves_pauses_out():
    clock = progress.Clock(seconds=100.0)
    with clock.paused():
        time.sleep(0.2)
    assert 100.0 <= clock.seconds < 100.15


def test_line_has_step_speed_and_time_left():
    values = {
        "step": 50, "epoch": 2, "samples_seen": 500, "lr": 1e-3, "loss": 2.5, "grad_norm": 1.0,
        "skipped_steps": 0, "logit_scale": 14.3, "z_ratio": 1.1, "samples_per_s": 100.0,
    }  # fmt: skip
    record = StepRecord.model_validate(values)
    line = progress.line(record, steps=1050, epochs=30)
    assert line.startswith("step 50/1050  epoch 2/30  100 pairs/s  ETA 0:01:40  loss 2.5  logit_scale 14.3  lr 0.001")
    assert line.endswith("z_ratio 1.1") and "skipped" not in line
    assert "skipped_steps 3" in progress.line(record.model_copy(update={"skipped_steps": 3}), steps=1050, epochs=30)


@pytest.mark.parametrize("rank", [0, 1])
def test_only_rank_0_writes_the_log(tmp_path, capsys, rank):
    path = tmp_path / "run" / "train.log"
    for text in ("first", "second"):
        with progress.log_to(path, World(CPU, rank, 2), "demo/clip-seed0"):
            logging.getLogger("amorlip.training.loop").info(text)
    expected = ["demo/clip-seed0: first", "demo/clip-seed0: second"] if rank == 0 else []
    assert [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()] == expected
    assert path.exists() == (rank == 0)
    if rank == 0:
        assert [line.split(" ", 1)[1] for line in path.read_text().splitlines()] == expected
