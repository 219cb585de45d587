"""Training steps of the AmorLIP authors' release, in the user's checkout of it, timed between two measurements of ours.

Its own training program runs in a child process with its command's options, this run's setting and its synthetic data,
until it has logged enough steps. Nothing of it is imported here, and nothing is written into the checkout.
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from amorlip import models
from amorlip.bench import report
from amorlip.bench.report import Column
from amorlip.bench.steps import Timing
from amorlip.common import devices
from amorlip.common.errors import AmorlipError, shortened
from amorlip.config.run import Run
from amorlip.training.records import PeerRecord

PROGRAM = Path(__file__).with_name("peer_program.py")
LOSSES = {"amorlip_l2log": "log_l2", "amorlip_fdiv": "kl_div_asym"}
"""Objectives that the release has; it has no CLIP."""
CONFIGS = Path("open_clip/model_configs")
"""Where its program reads the features' width, from the working directory."""
WORKERS = 6
"""Loader processes, as in its command; fewer on a machine with fewer cores."""
WARM_UP_WINDOWS = 2
"""Not counted: the first step, in which cuDNN selects algorithms and the loader starts, and the window after it."""
LIMIT_S = 1800
"""After which its program is stopped."""
WINDOW = re.compile(r"Train Epoch: .* Data \(t\): (\d+\.\d+) Batch \(t\): (\d+\.\d+)")
"""A line of its log: mean seconds of a step since the line before, waiting for data and whole. The images per second on
the line are those of its last step only, which is one with a fit."""
ERROR = re.compile(r"^[\w.]*(Error|Exception|Interrupt)\b")
MISSING = re.compile(r"No module named '([\w.]+)'")
PACKAGES = {"PIL": "pillow", "clip_benchmark": "clip-benchmark", "sklearn": "scikit-learn", "yaml": "PyYAML"}
"""Module → the package that has it, where the names differ."""
LAUNCHERS = ("SLURM_", "PMI_", "OMPI_", "TORCHELASTIC_", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_")
"""Beginnings of variables from which it would take itself for one of several processes."""

HEADING = """\
Pairs per second compared with the authors' release, whose own training program runs as a child process with the same
model and batch on its synthetic data. Its steps alone do not wait for its loader, as ours on random pairs do not; whole
is with that. Ours is the mean of a measurement before and one after."""
COLUMNS = [
    Column("case", "{case}", is_number=False),
    Column("device", "{device}", is_number=False),
    Column("batch", "{batch}"),
    Column("release's precision", "{peer_precision}", is_number=False),
    Column("ours", "{ours_per_s:.1f}"),
    Column("release, steps alone", "{peer_steps_per_s:.1f}"),
    Column("ratio", "{ratio:.2f}"),
    Column("release, whole", "{peer_per_s:.1f}"),
    Column("ratio to it", "{ratio_to_whole:.2f}"),
]


@dataclass(frozen=True)
class Window:
    """Mean seconds of a step, and of its wait for data in it."""

    data_s: float
    step_s: float


def checked(checkout: Path, runs: Sequence[Run]) -> Path:
    """The absolute path of a checkout of the release, which has a method of one of the `runs`.

    Raises AmorlipError if it is no such checkout, or has none of the methods.
    """
    options = checkout / "src/open_clip_train/params.py"
    for path in (checkout / "src/open_clip/factory.py", checkout / "src/open_clip_train/main.py", options):
        if not path.is_file():
            raise _no_checkout(checkout, f"{path.relative_to(checkout)} is missing")
    if "--lambda_loss_type" not in options.read_text(encoding="utf-8", errors="replace"):
        raise _no_checkout(checkout, "its training program has no option --lambda_loss_type")
    if not any(has(run) for run in runs):
        raise AmorlipError(f"--peer: the release has none of the chosen cases' methods, only {', '.join(LOSSES)}")
    return checkout.resolve()


def _no_checkout(checkout: Path, why: str) -> AmorlipError:
    return AmorlipError(f"--peer: {checkout} is not a checkout of the AmorLIP authors' release: {why}")


def has(run: Run) -> bool:
    """Whether the release can train this run's method."""
    return run.objective in LOSSES


def compare(
    checkout: Path, run: Run, steps: int, rounds: int, before: Timing, ours: Callable[[], Timing]
) -> tuple[PeerRecord, Timing]:
    """Measure the release, then ours again; the comparison, and the middle of our two measurements.

    Raises AmorlipError if its program ends before `rounds` windows of `steps` steps.
    """
    windows = measure(checkout, run, steps, rounds)
    timing = before.middle(ours())
    step_s = statistics.median(window.step_s for window in windows)
    alone_s = statistics.median(window.step_s - window.data_s for window in windows)
    if alone_s <= 0:
        raise AmorlipError("the release's log has steps that take no time; use a larger model or batch")
    pairs, our_s = run.recipe.batch_size, timing.step_ms / 1000
    record = PeerRecord(
        peer_precision=_precision(run),
        ours_per_s=round(pairs / our_s, 3),
        peer_steps_per_s=round(pairs / alone_s, 3),
        ratio=round(alone_s / our_s, 4),
        peer_per_s=round(pairs / step_s, 3),
        ratio_to_whole=round(step_s / our_s, 4),
    )
    return record, timing


def measure(checkout: Path, run: Run, steps: int, rounds: int) -> list[Window]:
    """Train with its program until it has logged `rounds` windows of `steps` steps after the warmup."""
    with tempfile.TemporaryDirectory() as scratch, _training(checkout, run, steps, rounds, Path(scratch)) as process:
        late = threading.Event()
        watch = threading.Thread(target=_watch, args=(process, late), daemon=True)
        watch.start()
        try:
            return list(islice(_windows(process), WARM_UP_WINDOWS, WARM_UP_WINDOWS + rounds))
        except AmorlipError:
            if late.is_set():
                raise AmorlipError(f"the release's program was stopped after {LIMIT_S} s") from None
            raise
        finally:
            _end(process)
            watch.join()


def markdown(rows: Sequence[dict[str, object]]) -> str:
    """The comparisons as a table; empty if there are none."""
    return f"\n{report.markdown(HEADING, COLUMNS, rows)}" if rows else ""


# ---------------------------------------------------------------- its program


@contextmanager
def _training(checkout: Path, run: Run, steps: int, rounds: int, scratch: Path) -> Iterator[subprocess.Popen[str]]:
    configs = scratch / CONFIGS
    configs.mkdir(parents=True)
    (configs / f"{run.recipe.model}.json").write_text(json.dumps(models.architecture(run.recipe.model)))
    # -P: the folder of PROGRAM has modules with common names
    command = [sys.executable, "-P", str(PROGRAM), str(configs), *options(run, steps, rounds)]
    process = subprocess.Popen(
        command,
        cwd=scratch,
        env=_environment(checkout, run.recipe.threads_per_rank),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # so that it ends together with its loader's processes
    )
    try:
        yield process
    finally:
        _end(process)
        process.communicate()


def options(run: Run, steps: int, rounds: int) -> list[str]:
    """Its command line: that of its README, with this run's setting, and an epoch a little longer than needed."""
    recipe, settings = run.recipe, run.settings
    given = {
        "model": recipe.model,
        "batch-size": recipe.batch_size,
        "precision": _precision(run),
        "device": devices.best().type,
        "seed": run.seed,
        "workers": min(WORKERS, max(1, (os.cpu_count() or 1) - 1)),
        "dataset-type": "synthetic",
        "train-num-samples": recipe.batch_size * steps * (WARM_UP_WINDOWS + rounds),
        "epochs": recipe.epochs,
        "log-every-n-steps": steps,
        "lr": recipe.optimizer.lr,
        "wd": recipe.optimizer.weight_decay,
        "warmup": recipe.schedule.warmup_steps,
        "grad-clip-norm": recipe.optimizer.grad_clip,
        "lr_tau": recipe.logit_scale.lr,
        "lambda-lr": settings["lr"],
        "lambda-update-frequency": f"[{settings['t_lambda']}]",
        "update_lambda_every_n_steps": settings["t_online"],
        "update_ema_mlps_every_n_steps": settings["t_target"],
        "lambda_tolerance": 5e-3,
        "h_dim_factor": settings["f_d"],
        "model_ema_beta": settings["alpha"],
        "z_beta_max": settings["beta_max"],
        "beta_decay_epochs": settings["beta_horizon_epochs"] or recipe.epochs,
        "pos_coef": settings["positive_weight"],
        "rho_list": f"[{settings['rho']}]",
        "lambda_loss_type": LOSSES[run.objective],
        "reinit_lambda_every_n_epochs": 1,
        "report-to": "none",
        "logs": "logs",
        "name": "bench",
    }
    switches = ["learn-logit-scale", "calculate_full", "scale_loss"]
    switches += ["fit_w_prev"] if settings["normalizer"] == "combined" else []
    values = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return [*values, *(f"--{name}" for name in switches)]


def _precision(run: Run) -> str:
    """`amp` of its command (float16, loss scaling) where ours is 16 bits; on a CPU ours is float32, and it is, too."""
    return "amp" if devices.best().type == "cuda" and run.recipe.precision != "float32" else "fp32"


def _environment(checkout: Path, threads: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)}
    path = [str(checkout / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**kept, **own, "PYTHONPATH": os.pathsep.join(path)}


def _watch(process: subprocess.Popen[str], late: threading.Event) -> None:
    """When it ends, also end its loader's processes, which would keep its log open; end it after `LIMIT_S`."""
    try:
        process.wait(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        late.set()
    _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End it and its loader's processes."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            continue


def _windows(process: subprocess.Popen[str]) -> Iterator[Window]:
    """What its log says, window by window. Raises AmorlipError with the reason if its program ends."""
    last: deque[str] = deque(maxlen=500)
    for line in process.stdout or ():
        last.append(line)
        if found := WINDOW.search(line):
            yield Window(*map(float, found.groups()))
    raise AmorlipError(_reason([*last], process.wait()))


def _reason(lines: list[str], code: int) -> str:
    """Why its program ended, in one line."""
    errors = [line.strip() for line in lines if ERROR.match(line)]
    if errors and (missing := MISSING.search(errors[-1])):
        module = missing.group(1)
        package = PACKAGES.get(module.partition(".")[0], module.partition(".")[0])
        return f"the release needs the module {module}; install it: {sys.executable} -m pip install {package}"
    said = errors[-1] if errors else next((line for line in reversed(lines) if line.strip()), "it printed nothing")
    return f"the release's program ended with exit code {code}: {shortened(' '.join(said.split()))}"
