"""The stage `train`: one run, on one or several ranks."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from amorlip.common import files, slurm, terminal
from amorlip.common import gpus as devices
from amorlip.common.errors import AmorlipError
from amorlip.common.printable import printable
from amorlip.config.benchmark import TaskDefinition
from amorlip.config.load import validate
from amorlip.config.run import Run
from amorlip.tasks.record import RECORD
from amorlip.tasks.verify import verified_record
from amorlip.training import ranks, signals
from amorlip.training.limit import Limit
from amorlip.training.records import LOG

POLL_S = 2
"""Between two looks at whether another process still trains the run."""


def run(
    settings: Mapping[str, Any],
    shards: Path,
    output: Path,
    tasks: Path | None = None,
    workers: int | None = None,
    checkpoint_every_steps: int | None = None,
    checkpoint_every_minutes: int | None = None,
    from_start: bool = False,
    gpus: int | None = None,
    nodes: int | None = None,
    device: str | None = None,
    time_limit_min: int | None = None,
    log: Path | None = None,
    wait: bool = False,
) -> None:
    """Train one model. Several ranks are started as torchrun starts them, which can also be done by hand.

    In a Slurm job it runs as a step of its own, and a run that stopped with a checkpoint is put back into the queue.

    Args:
        settings: the run, and under `tasks` the definitions of those that are evaluated after each epoch.
        shards: the folder of the corpus's manifest and index.
        output: the run's folder.
        tasks: the folder with a folder for each task.
        workers: data-loading processes; None: the recipe's.
        checkpoint_every_steps: steps between checkpoints; None: the recipe's.
        checkpoint_every_minutes: longest time between checkpoints; None: the recipe's.
        from_start: do not resume from the run's checkpoints, which are set aside.
        gpus: GPUs of each node to use, which no other process then uses; None: all that are visible, whoever uses them.
        nodes: nodes of the Slurm job that train the run together; None: one.
        device: `cpu` for the CPU on purpose; None: the recipe's.
        time_limit_min: the job's time limit, for schedulers that do not tell it to the job.
        log: becomes a link to train.log in `output`, which then gets everything that is printed.
        wait: if another process trains this run, wait for it instead of refusing.

    Raises:
        AmorlipError: if the settings are wrong, or do not fit the shards.
        signals.Interrupted (exit code 75): if it stopped with a checkpoint, or stopped waiting.
    """
    slurm.become_step(nodes or 1)
    run, limit = validate(Run, settings["run"], "settings"), Limit(time_limit_min)
    speed: dict[str, Any] = {
        "checkpoint_every_steps": checkpoint_every_steps,
        "checkpoint_every_minutes": checkpoint_every_minutes,
        "device": device,
    }
    run = _with_speed(run, workers, speed)
    if run.recipe.device == "cpu":
        devices.hide()
    defined = settings.get("tasks", {})
    if defined and tasks is None:
        raise AmorlipError(f"--tasks is missing: the folder with the folder of {next(iter(defined))}")
    if not ranks.is_rank():
        node = slurm.this_node(nodes or 1)
        if node.number == 0:
            _prepare(output, limit, log, wait=wait)
        if gpus is not None:
            devices.claim(gpus)
        if run.recipe.ranks > 1:
            sys.exit(_launch(run.recipe.ranks, node, output, log))
    stream = terminal.append_to(output / LOG) if log else None
    folders = {name: _task(name, keys, tasks / name) for name, keys in defined.items()} if tasks else {}
    from amorlip.training import loop

    # a second signal must not end this process between its checkpoint and its place in the queue
    with nullcontext() if ranks.is_rank() else signals.listening():
        try:
            loop.train(run, shards, output, folders, from_start=from_start, limit=limit, terminal=stream)
        except signals.Interrupted:
            if not ranks.is_rank():
                _requeue()
            raise


def _launch(count: int, node: slurm.Node, output: Path, log: Path | None) -> int:
    """Start this node's part of `count` ranks with this command; their exit code."""
    from amorlip.training import launch

    try:
        code = launch.launch(count, [sys.executable, "-m", "amorlip", *sys.argv[1:]], node, output)
    finally:
        if log:  # as its ranks: after `scancel` nobody reads what a job prints
            terminal.append_to(output / LOG)
    if code == signals.EXIT_CODE and node.number == 0:
        _requeue()
    return code


def _prepare(output: Path, limit: Limit, log: Path | None, *, wait: bool) -> None:
    """Before the first rank starts: the log's link, and the end of another process that trains this run."""
    if log:
        terminal.link(log, output / LOG)
    if wait:
        _wait_for_other(output, limit)


def _wait_for_other(output: Path, limit: Limit) -> None:
    """Return when no other process trains into `output`. In a Slurm job, wait in the queue for the other's job.

    A second job is submitted if Snakemake was killed and started again while the first one runs.
    """
    told = False
    with signals.listening() as request:
        while (other := files.holder(output)) is not None:
            if not told:
                print(f"{output}: {_name(other)} trains this run; waiting for its end", file=sys.stderr, flush=True)
                told = True
                if (job := other.get("job")) and _requeue(after=job):
                    raise signals.Interrupted
            if request.reason or limit.is_near():
                _requeue()
                raise signals.Interrupted
            time.sleep(POLL_S)


def _name(process: Mapping[str, Any]) -> str:
    """A process as `files.holder` describes it, for people."""
    job = f", Slurm job {process['job']}" if process.get("job") else ""
    where = f"{process.get('pid', 'unknown')} on {process.get('host', 'an unknown machine')}{job}"
    return printable(f"another process ({where})")


def _requeue(after: str | None = None) -> bool:
    """Put this process's Slurm job, if there is one, back into the queue; whether that was done."""
    if slurm.job_id() is None:
        return False
    reason = slurm.requeue(after)
    told = "put back into the queue" if reason is None else f"not put back into the queue: {reason}"
    print(f"Slurm job {slurm.job_id()}: {told}", file=sys.stderr, flush=True)
    return reason is None


def _with_speed(run: Run, workers: int | None, given: Mapping[str, Any]) -> Run:
    """The run with the given keys, which change no result and so are not part of a run's settings."""
    loader, recipe = run.recipe.loader, run.recipe
    if workers is not None:
        recipe = recipe.model_copy(update={"loader": loader.model_copy(update={"workers": workers})})
    recipe = recipe.model_copy(update={key: value for key, value in given.items() if value is not None})
    return run.model_copy(update={"recipe": recipe})


def _task(name: str, keys: Mapping[str, Any], folder: Path) -> tuple[TaskDefinition, Path] | None:
    """A task and its folder; None, with a line on stderr, if its files are missing."""
    reason = verified_record(folder).missing if (folder / RECORD).is_file() else None
    if reason:
        print(f"{name} is not evaluated: {reason}", file=sys.stderr)
        return None
    return validate(TaskDefinition, keys, f"settings: tasks.{name}"), folder
