"""SIGKILL at random steps, at random moments, and at every stage of writing a checkpoint: the weights stay the same."""

from __future__ import annotations

import io
import itertools
import json
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from amorlip.common import files
from amorlip.config.run import Run
from amorlip.training import checkpoint, loop, results
from amorlip.training.checkpoint import Checkpoints
from tests.helpers import forks, tiny
from tests.helpers.forks import ending

KILLS = int(os.environ.get("AMORLIP_KILLS", "20"))
CHECKPOINTS = {"checkpoint_every_steps": 2, "log_every_steps": 3}


def die_in_step(number: int) -> Callable[[], None]:
    """In the child, SIGKILL after the gradients of update `number` and before its end."""

    def prepare() -> None:
        original = loop.Trainer._train_on

        def train_on(self, batch, step):
            original(self, batch, step)
            if step + 1 == number:
                os.kill(os.getpid(), signal.SIGKILL)

        loop.Trainer._train_on = train_on

    return prepare


def kill(child: int, seconds: float) -> int:
    """SIGKILL after some time; how the child ended."""
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return forks.end(child)


def train_through(
    run: Run, shards: Path, root: Path, whole: Path, start_and_kill: Callable[[Path], int], kills: int
) -> None:
    """Start the run again after each of `kills` kills; whenever it comes to its end, it ended like `whole`."""
    output, done = root / "run0", 0
    while done < kills:
        code = start_and_kill(output)
        assert code in (0, -signal.SIGKILL), Path(f"{output}.err").read_text()
        if code:
            done += 1
        else:  # it came to its end: from the start again
            assert ending(output) == ending(whole)
            output = root / f"run{done}"
    assert forks.end(forks.start(run, shards, output)) == 0
    assert ending(output) == ending(whole)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_random_kills_at_a_step(tiny_run, tiny_shards, whole, tmp_path):
    """Records are written every third step and checkpoints every fourth: most kills lose steps that are recorded."""
    recipe = tiny_run.recipe.model_copy(update={"checkpoint_every_steps": 4})
    run, chance = tiny_run.model_copy(update={"recipe": recipe}), random.Random("step")

    def start_and_kill(output: Path) -> int:
        return forks.end(forks.start(run, tiny_shards, output, die_in_step(chance.randint(1, 15))))

    train_through(run, tiny_shards, tmp_path, whole, start_and_kill, KILLS)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("method", ["amorlip_l2log", "fastclip"])
def test_random_kills_at_any_moment(tiny_run, tiny_shards, tmp_path, method):
    """Start and export included; AmorLIP's networks, and a number for each sample."""
    run = tiny_run if method == tiny_run.objective else tiny.make_run(method, **CHECKPOINTS)
    whole, chance = tmp_path / "whole", random.Random(method)
    begun = time.monotonic()
    assert forks.end(forks.start(run, tiny_shards, whole)) == 0
    duration = time.monotonic() - begun
    train_through(
        run, tiny_shards, tmp_path, whole,
        lambda output: kill(forks.start(run, tiny_shards, output), chance.uniform(0, duration)), KILLS // 2,
    )  # fmt: skip


def draw_in_every_step(then: Callable[[], None] = lambda: None) -> Callable[[], None]:
    """In the child, each step moves the logit scale by random numbers of all three global generators."""

    def prepare() -> None:
        original = loop.Trainer._train_on

        def train_on(self, batch, step):
            original(self, batch, step)
            with torch.no_grad():
                self.session.model.logit_scale += 1e-3 * (torch.rand(()) + np.random.rand() + random.gauss())

        loop.Trainer._train_on = train_on
        then()

    return prepare


def test_the_global_generators_go_on_where_they_were(tiny_run, tiny_shards, whole, tmp_path):
    """No method draws from them in a step; one that does is resumed exactly, too."""
    for name, kills in (("drawn", []), ("killed", [3, 8])):
        for step in kills:
            prepare = draw_in_every_step(die_in_step(step))
            assert forks.end(forks.start(tiny_run, tiny_shards, tmp_path / name, prepare)) == -signal.SIGKILL
        assert forks.end(forks.start(tiny_run, tiny_shards, tmp_path / name, draw_in_every_step())) == 0
    assert ending(tmp_path / "killed") == ending(tmp_path / "drawn")
    assert forks.weights(tmp_path / "drawn") != forks.weights(whole)


def die_at(owner: object, name: str, call: int, instead: Callable[..., None] | None = None) -> Callable[[], None]:
    """In the child, SIGKILL at call number `call` of a function, after `instead` was called in its place."""

    def prepare() -> None:
        original, calls = getattr(owner, name), []

        def replaced(*arguments, **options):
            calls.append(arguments)
            if len(calls) == call:
                if instead:
                    instead(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        setattr(owner, name, replaced)

    return prepare


def write_half(_: dict, file: Path | io.BufferedWriter, **_options: object) -> None:
    """Something of a file's beginning reaches the disk."""
    if isinstance(file, Path):
        file.write_bytes(b"half")
    else:
        file.write(b"half")
        file.flush()


def lose_digest(checkpoints: Checkpoints, step: int) -> None:
    """The first half of deleting a checkpoint."""
    checkpoints._path(step).with_suffix(".json").unlink()


def die_in_export() -> None:
    """In the child, die in the middle of the weights, whatever writes them: files may not grow further."""
    original = results.models.export

    def export(model, path):
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        original(model, path)

    results.models.export = export


def die_while_training_goes_on(call: int) -> Callable[[], None]:
    """In the child, SIGKILL at the end of the step after write number `call` has begun, when half is on the disk."""

    def prepare() -> None:
        save, train_on, calls, half_written = torch.save, loop.Trainer._train_on, itertools.count(1), threading.Event()

        def half(state, file):
            if next(calls) < call:
                return save(state, file)
            write_half(state, file)
            half_written.set()
            threading.Event().wait()

        def step_and_die(self, batch, step):
            is_last = len(started) == call and half_written.wait(60)
            train_on(self, batch, step)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)

        started, start = [], loop.CheckpointWriter.start
        loop.CheckpointWriter.start = lambda *given, **options: (start(*given, **options), started.append(given))
        torch.save, loop.Trainer._train_on = half, step_and_die

    return prepare


MOMENTS = {
    "a step is trained while the checkpoint before it is half written": lambda: die_while_training_goes_on(2),
    "the end of an epoch is recorded, its checkpoint is half written": lambda: die_while_training_goes_on(3),
    "the checkpoint is half written": lambda: die_at(torch, "save", 3, write_half),
    "it is written, its digest is not": lambda: die_at(checkpoint.files, "write_json", 3),
    "an old one has lost its digest": lambda: die_at(Checkpoints, "_delete", 1, lose_digest),
    "the weights are half exported": lambda: die_in_export,
    "some results are written": lambda: die_at(results, "_provenance", 1),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while(tiny_run, tiny_shards, whole, tmp_path, moment):
    output = tmp_path / "run"
    code = forks.end(forks.start(tiny_run, tiny_shards, output, MOMENTS[moment]()))
    assert code in (-signal.SIGKILL, -signal.SIGXFSZ), Path(f"{output}.err").read_text()
    assert not (output / "model.safetensors").exists()
    for record in output.glob("checkpoints/*/step-*.json"):  # those that count are whole
        assert files.sha256(record.with_suffix(".pt")) == json.loads(record.read_text())["sha256"]
    assert forks.end(forks.start(tiny_run, tiny_shards, output)) == 0
    log = (output / "train.log").read_text()
    trained = moment in ("the weights are half exported", "some results are written")
    assert ("already trained" if trained else "resumed after step") in log and "cannot be used" not in log
    assert ending(output) == ending(whole)
