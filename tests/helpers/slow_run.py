"""A training run that takes as long as a test wants, and what its log and records tell about its starts and stops."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from amorlip.common import files
from amorlip.training import records
from tests.helpers import REPOSITORY
from tests.helpers import chain as chains
from tests.helpers.chain import Chain
from tests.helpers.miniatures import write_split

PAIRS, BATCH, EPOCHS = 200, 4, 10
STEPS = PAIRS // BATCH * EPOCHS
CHECKPOINT_EVERY, SLOW_S = 3, 2
PATIENCE_S = 400
ARCHITECTURES = REPOSITORY / "tests/helpers/architectures"
SITE = f"""
# Training knows the tiny architectures, and a step takes {SLOW_S} s longer while the file SLOW exists.
import importlib.util, os, sys, time

NAME = "amorlip.training.loop"

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name != NAME:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(NAME)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            import open_clip
            open_clip.add_model_config({str(ARCHITECTURES)!r})
            train_on = module.Trainer._train_on

            def slowly(*arguments):
                if os.path.exists(os.environ["SLOW"]):
                    time.sleep({SLOW_S})
                return train_on(*arguments)

            module.Trainer._train_on = slowly

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Slow())
"""
"""Python runs it when it starts (`sitecustomize`), in every process of a job."""


class SlowRun:
    """A run of 500 steps in `folder`/run, or in `output`, whose checkpoints are 3 steps apart."""

    def __init__(self, folder: Path, *, ranks: int = 1, output: Path | None = None) -> None:
        self.folder, self.output = folder, output or folder / "run"
        self.chain = Chain(folder)
        write_split(self.chain.shards, [list(range(PAIRS // 2)), list(range(PAIRS // 2, PAIRS))])
        self.recipe = {"model": "tiny_transformer", "ranks": ranks, "batch_size": BATCH, "epochs": EPOCHS}
        self.recipe["device"] = "cpu"  # Slurm's GPUs are not real
        self.stage = self._stage(self.output)
        self.whole: subprocess.Popen[bytes] | None = None
        self.slow = folder / "slow"
        self.slow.touch()
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(SITE)
        path = os.pathsep.join([str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.environment = chains.environment(PYTHONPATH=path, SLOW=str(self.slow))

    def _stage(self, output: Path) -> list[str]:
        return self.chain.train_stage(output, method="clip", log_every_steps=1, every=CHECKPOINT_EVERY, **self.recipe)

    @property
    def log(self) -> str:
        """What train.log says so far."""
        path = self.output / "train.log"
        return path.read_text() if path.exists() else ""

    @property
    def starts(self) -> list[int]:
        """Steps that were done at each start."""
        return [int(step or 0) for step in re.findall(r"from the start|resumed after step (\d+)", self.log)]

    @property
    def stops(self) -> list[int]:
        """Steps that were done at each stop with a checkpoint."""
        return [int(step) for step in re.findall(r"stopped after step (\d+) of", self.log)]

    @property
    def trains(self) -> bool:
        """Whether steps were logged since the last start."""
        last = re.split(r"from the start|resumed after step", self.log)[-1]
        return bool(self.starts) and bool(re.search(rf"step \d+/{STEPS}", last)) and "stopped after" not in last

    @property
    def newest_checkpoint(self) -> int:
        """Steps that are done in it; 0 without one."""
        paths = self.output.glob("checkpoints/*/step-*.json")
        return max((json.loads(path.read_text())["step"] for path in paths), default=0)

    @property
    def result(self) -> tuple[str, list[dict[str, Any]]]:
        """Checksum of the weights, and the records without measured times."""
        return _result(self.output)

    def start_uninterrupted(self) -> None:
        """Begin `uninterrupted`, if it has not begun, and do not wait."""
        if self.whole is None:
            stage = [*chains.COMMAND, *self._stage(self.folder / "whole")]
            with (self.folder / "whole.log").open("w") as log:
                self.whole = subprocess.Popen(stage, env={**self.environment, "SLOW": ""}, stdout=log, stderr=log)

    def uninterrupted(self) -> tuple[str, list[dict[str, Any]]]:
        """`result` of the same run without any interruption."""
        self.start_uninterrupted()
        assert self.whole and self.whole.wait(PATIENCE_S) == 0, (self.folder / "whole.log").read_text()[-3000:]
        return _result(self.folder / "whole")


def _result(output: Path) -> tuple[str, list[dict[str, Any]]]:
    kept = [one.model_dump(exclude={"samples_per_s", "seconds"}) for one in records.read(output / "metrics.jsonl")]
    return files.sha256(output / "model.safetensors"), kept
