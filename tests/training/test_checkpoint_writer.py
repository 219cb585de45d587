"""Checkpoints that are written in a thread: what was copied, one at a time, and nothing is lost without a word."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from amorlip.common import files
from amorlip.training import checkpoint, loop, signals
from amorlip.training.checkpoint import Checkpoints
from amorlip.training.checkpoint_writer import CheckpointWriter
from amorlip.training.limit import RESERVE_S, Limit
from tests.helpers import disks

CPU = torch.device("cpu")
SAVE = torch.save


class Gate:
    """Holds each write before its first byte until `open`; knows how many threads have come to it at once."""

    def __init__(self) -> None:
        self.reached, self._open = threading.Event(), threading.Event()
        self.inside = self.most_inside = 0
        self.thread_mask: set[int] = set()

    def open(self) -> None:
        self._open.set()

    def save(self, state: dict, file: io.BufferedWriter) -> None:
        self.inside += 1
        self.most_inside = max(self.inside, self.most_inside)
        self.thread_mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        self.reached.set()
        assert self._open.wait(60)
        SAVE(state, file)
        self.inside -= 1


@pytest.fixture
def gate(monkeypatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(checkpoint.torch, "save", gate.save)
    yield gate
    gate.open()


@pytest.fixture
def checkpoints(tmp_path) -> Checkpoints:
    return Checkpoints(tmp_path / "c")


def names(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def some_state() -> dict:
    """Tensors alone, with a shared memory and as a part of a larger one, in all containers that a state has."""
    shared, large = torch.arange(6.0), torch.arange(100)
    model = OrderedDict(weight=shared, tied=shared, part=large[3:5].view(2, 1))
    return {"model": model, "adamw": {"state": {0: {"step": torch.tensor(1.0)}}}, "rng": [(1, (2, None))], "empty": []}


def start(writer: CheckpointWriter, step: int, state: dict) -> None:
    writer.start(step, state, (), since=time.monotonic())


def test_what_changes_after_the_start_is_not_written(checkpoints, gate):
    """Twice, since the copy is used again; the file is that of the state itself, byte for byte."""
    state = some_state()
    with CheckpointWriter(checkpoints, CPU) as writer:
        for step in (1, 2):
            expected = io.BytesIO()
            SAVE(state, expected)
            start(writer, step, state)
            state["model"]["weight"] += 1
            state["model"]["part"] *= 2
            state["adamw"]["state"][0]["step"] += 1
            state["empty"].append(step)
            gate.open()
            writer.wait()
            assert (checkpoints.folder / f"step-0000000{step}.pt").read_bytes() == expected.getvalue()
    assert checkpoints.latest()[0] == 2


def test_the_copies_memory_is_used_again(checkpoints, monkeypatch):
    """A model's `state_dict()` makes new tensors of the same memory each time."""
    model, places = torch.nn.Linear(100, 100), []
    original = Checkpoints.save

    def save(self, step, state, parts):
        places.append([tensor.data_ptr() for tensor in state["model"].values()])
        original(self, step, state, parts)

    monkeypatch.setattr(Checkpoints, "save", save)
    with CheckpointWriter(checkpoints, CPU) as writer:
        for step in (1, 2, 3):
            start(writer, step, {"model": model.state_dict()})
    assert places[0] == places[1] == places[2]
    assert not set(places[0]) & {tensor.data_ptr() for tensor in model.state_dict().values()}


def test_on_a_gpu_the_copy_is_pinned_and_waited_for_once(checkpoints, monkeypatch):
    chosen = []
    monkeypatch.setattr("amorlip.training.checkpoint_writer.DefaultStager", chosen.append)
    for device in ("cuda", "cpu"):
        CheckpointWriter(checkpoints, torch.device(device))
    assert [(one.use_pinned_memory, one.use_non_blocking_copy) for one in chosen] == [(True, True), (False, False)]
    assert not any(one.use_shared_memory or one.use_async_staging for one in chosen)


def test_one_at_a_time(checkpoints, gate):
    with CheckpointWriter(checkpoints, CPU) as writer:
        assert not writer.is_busy and writer.seconds == 0
        begun = time.monotonic()
        start(writer, 1, some_state())
        assert gate.reached.wait(60) and writer.is_busy and writer.seconds > 0
        opener = threading.Timer(0.1, gate.open)
        opener.start()
        start(writer, 2, some_state())  # waits for the first
        assert (checkpoints.folder / "step-00000001.json").exists() and not opener.is_alive()
    assert not writer.is_busy and 0 < writer.seconds < time.monotonic() - begun
    assert checkpoints.latest()[0] == 2 and gate.most_inside == 1


def test_the_thread_gets_no_signal_that_the_main_thread_holds_back(checkpoints, gate):
    with CheckpointWriter(checkpoints, CPU) as writer:
        start(writer, 1, some_state())
        assert gate.reached.wait(60)
        gate.open()
    assert {*signals.SIGNALS, signal.SIGINT} <= gate.thread_mask


# ---------------------------------------------------------------- trouble


def is_full(state: dict, file: io.BufferedWriter) -> None:
    """As torch.save on a full disk: the cause is an OSError without a name."""
    file.write(b"half")
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError:
        raise RuntimeError("unexpected pos 64 vs 0") from None


NEXT: dict[str, Callable[[CheckpointWriter], None]] = {
    "wait": CheckpointWriter.wait,
    "check": CheckpointWriter.check,
    "start": lambda writer: start(writer, 2, some_state()),
    "end": lambda writer: writer.__exit__(None, None, None),
}


@pytest.mark.parametrize("action", NEXT)
def test_a_full_disk_is_told_once_by_whatever_comes_next(checkpoints, monkeypatch, action):
    writer = CheckpointWriter(checkpoints, CPU)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.torch, "save", is_full)
        start(writer, 1, some_state())
        while writer.is_busy:
            time.sleep(0.01)
    with pytest.raises(OSError, match=r"No space left on device: '.*step-00000001\.pt'") as caught:
        NEXT[action](writer)
    assert caught.value.errno == errno.ENOSPC and names(checkpoints) == []
    writer.check()
    if action != "end":
        start(writer, 3, some_state())
        writer.wait()
        assert checkpoints.latest()[0] == 3


def test_a_disk_that_is_really_full(tmp_path):
    """The copy fits into memory; the second of two files does not fit on the disk."""
    with disks.disk(tmp_path / "disk", "3m") as folder:
        checkpoints = Checkpoints(folder)
        full = pytest.raises(OSError, match=r"No space left on device.*step-00000002")
        with full, CheckpointWriter(checkpoints, CPU) as writer:
            for step in (1, 2):
                start(writer, step, {"weights": torch.zeros(2**19)})
        assert checkpoints.latest()[0] == 1 and len(names(checkpoints)) == 2


def test_an_error_of_training_is_not_hidden_by_one_of_the_write(checkpoints, monkeypatch, caplog):
    monkeypatch.setattr(checkpoint.torch, "save", is_full)
    caplog.set_level(logging.WARNING, "amorlip")
    with pytest.raises(ValueError, match="training"), CheckpointWriter(checkpoints, CPU) as writer:
        start(writer, 1, some_state())
        raise ValueError("training")
    (told,) = caplog.messages
    assert told.startswith("the last checkpoint was not written: [Errno 28] No space left") and "\n" not in told


def test_an_error_of_training_waits_for_the_write(checkpoints, gate):
    with pytest.raises(ValueError, match="training"), CheckpointWriter(checkpoints, CPU) as writer:
        start(writer, 1, some_state())
        threading.Timer(0.1, gate.open).start()
        raise ValueError("training")
    assert checkpoints.latest()[0] == 1


def press_ctrl_c_while_waiting() -> None:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()


def test_ctrl_c_waits_for_the_write(checkpoints, gate):
    with pytest.raises(KeyboardInterrupt), CheckpointWriter(checkpoints, CPU) as writer:
        start(writer, 1, some_state())
        threading.Timer(0.5, gate.open).start()
        press_ctrl_c_while_waiting()
        writer.wait()
    assert checkpoints.latest()[0] == 1


def test_ctrl_c_pressed_again_gives_the_write_up(checkpoints, gate):
    """At the next of the file's records; nothing is left of it, and nobody waits for the thread."""
    with pytest.raises(KeyboardInterrupt), CheckpointWriter(checkpoints, CPU) as writer:
        start(writer, 1, some_state())
        threading.Timer(0.5, gate.open).start()
        press_ctrl_c_while_waiting()
        raise KeyboardInterrupt
    assert names(checkpoints) == []


# ---------------------------------------------------------------- whole runs


def saved_steps(output: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("step-")) for path in output.glob("checkpoints/*/step-*.json"))


def in_step(monkeypatch: pytest.MonkeyPatch, number: int, action: Callable[[], object]) -> None:
    """`action` is called in update `number`, before anything is computed."""
    original = loop.Trainer._train_on

    def train_on(self, batch, index):
        if index + 1 == number:
            action()
        original(self, batch, index)

    monkeypatch.setattr(loop.Trainer, "_train_on", train_on)


def test_steps_are_trained_while_a_checkpoint_is_written(gate, corpus, make_run, tmp_path, monkeypatch):
    """That of step 2 is held until step 4 begins; what is saved is the state after step 2."""
    run, found = make_run(epochs=1, checkpoint_every_steps=2), []
    in_step(monkeypatch, 4, lambda: (found.append(saved_steps(tmp_path / "held")), gate.open()))
    in_step(monkeypatch, 3, lambda: gate.reached.wait(60))
    loop.train(run, corpus, tmp_path / "held", {})
    assert found == [[]] and saved_steps(tmp_path / "held") == [4, 5]
    loop.train(run, corpus, tmp_path / "free", {})
    assert files.sha256(tmp_path / "held/model.safetensors") == files.sha256(tmp_path / "free/model.safetensors")


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_while_a_checkpoint_is_written(gate, corpus, make_run, tmp_path, monkeypatch, number):
    """The run leaves after both, that one and its last."""
    in_step(monkeypatch, 3, lambda: (gate.reached.wait(60), os.kill(os.getpid(), number), gate.open()))
    with pytest.raises(signals.Interrupted):
        loop.train(make_run(checkpoint_every_steps=2), corpus, tmp_path, {})
    assert saved_steps(tmp_path) == [2, 3]
    folder = next((tmp_path / "checkpoints").iterdir())
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert Checkpoints(folder).latest()[0] == 3


@pytest.mark.parametrize("step", [7, 10, 15])
def test_a_disk_that_fills_up_stops_the_run_at_its_next_step(corpus, make_run, tmp_path, monkeypatch, step):
    """Within an epoch, at the end of one, and at the end of the run, which then has no weights; it can be resumed."""
    original = Checkpoints.save

    def save(self, number, *state):
        if number == step:
            raise OSError(errno.ENOSPC, "No space left on device", f"step-{number}")
        original(self, number, *state)

    run = make_run()
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save)
        with pytest.raises(OSError, match=rf"No space left on device: 'step-{step}'"):
            loop.train(run, corpus, tmp_path, {})
    assert saved_steps(tmp_path)[-1] < step and not (tmp_path / "model.safetensors").exists()
    loop.train(run, corpus, tmp_path, {})
    assert (tmp_path / "model.safetensors").exists() and saved_steps(tmp_path)[-1] == 15


def test_a_write_under_way_counts_before_the_time_limit(gate, corpus, make_run, tmp_path, monkeypatch):
    """The slowest took 100 s: as much for the one that is held, and twice as much for the last, are too long."""
    train, save = loop.Trainer.train, loop.Trainer._save
    monkeypatch.setattr(loop.Trainer, "train", lambda self, request: (self.limit.note_save(100), train(self, request)))
    monkeypatch.setattr(loop.Trainer, "_save", lambda self: (gate.open() if self.step == 3 else None, save(self)))
    with pytest.raises(signals.Interrupted):
        loop.train(make_run(checkpoint_every_steps=2), corpus, tmp_path, {}, limit=Limit((300 + RESERVE_S - 10) / 60))
    assert saved_steps(tmp_path) == [2, 3]
