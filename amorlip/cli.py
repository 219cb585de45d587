"""The command `amorlip`: one subcommand per stage of the workflow, named after its rule.

Only arguments and exit codes are handled here. A stage reads its settings (JSON text, or the path of a YAML or JSON
file), calls one function and exits with 0; bad input ends with one line on stderr and exit code 1. An omitted option is
taken from the configuration. Imports are inside the commands, so that each loads only what it needs.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amorlip import __version__
from amorlip.common.errors import AmorlipError, lacks_memory, one_line
from amorlip.common.printable import printable

if TYPE_CHECKING:
    from amorlip.study import Study


def read_settings(text: str) -> dict[str, Any]:
    """The mapping that `--settings` gives, as JSON text or as the path of a YAML or JSON file."""
    from amorlip.common.limits import parse_json, read_json
    from amorlip.config.load import read_yaml

    if text.lstrip().startswith("{"):
        try:
            return parse_json(text)
        except ValueError as error:
            raise AmorlipError(f"settings: not valid JSON: {one_line(error)}") from error
    if text.endswith(".json"):
        # as the rules write them: a hundred times faster than as YAML, which says what is wrong with other files
        with contextlib.suppress(OSError, ValueError):
            if isinstance(settings := read_json(Path(text)), dict):
                return settings
    return read_yaml(Path(text))


def run_stage(stage: str, settings: str, **options: Any) -> None:
    """Call a stage with its settings and options. Raises AmorlipError if an output is also an input."""
    _refuse_to_overwrite(settings, options)
    importlib.import_module(f"amorlip.stages.{stage}").run(read_settings(settings), **options)


def _refuse_to_overwrite(settings: str, options: dict[str, Any]) -> None:
    """Compare the files and folders of the options by inode: links and other spellings of a path do not matter."""
    given = {name: [value] for name, value in options.items() if value is not None} | {"settings": [settings]}
    given |= {"outputs": options.get("outputs") or []}
    written = [Path(path) for name in ("output", "outputs", "predictions", "record") for path in given.pop(name, [])]
    for name, values in given.items():
        for value in values:
            for path in written:
                if isinstance(value, str | Path) and _is_path(value) and path.exists() and path.samefile(value):
                    raise AmorlipError(f"{path} would be overwritten, but it is also --{name}; choose another output")


def _is_path(value: str | Path) -> bool:
    try:
        return Path(value).exists()
    except OSError:  # settings as JSON text are longer than a file's name may be
        return False


# ---------------------------------------------------------------- commands that are not a rule


def schema(check: bool) -> None:
    """Write the JSON schemas and the key tables of config/README.md."""
    from amorlip.config import schema as generating

    for path in generating.generate(Path(__file__).parent.parent, check=check):
        print(path)


def config(files: list[Path]) -> None:
    """Check the configuration that `snakemake --configfile FILE …` would use; print its runs with complete recipes."""
    import yaml

    from amorlip.study import warnings

    study = _study(files)
    for warning in warnings(study):
        print(f"amorlip config: warning: {warning}", file=sys.stderr)
    runs = {f"{run.scale}/{run.name}": run.model_dump() for _, run in study.runs}
    print(yaml.safe_dump(runs, sort_keys=False), end="")


def status(files: list[Path], watch: float | None) -> None:
    """Show every run of a study: state, epoch, speed, time left, last metric, Slurm job and what it waits for."""
    from amorlip.monitor import status as monitoring

    study = _study(files)
    while True:
        lines = monitoring.text(monitoring.status(study, Path("results"))).splitlines()
        shown = "\n".join(map(printable, lines))  # others of a group may write to the folder
        print(f"\033[2J\033[H{shown}" if watch and sys.stdout.isatty() else shown, flush=True)
        if not watch:
            break
        time.sleep(watch)


def report(files: list[Path], output: Path | None, partial: bool) -> None:
    """Write the report of a study as one HTML file; with --partial at any moment: what is done, runs, or failed."""
    from amorlip.study_report import write as reporting

    study = _study(files)
    path = output or Path("results") / study.selection.name / (reporting.PARTIAL if partial else reporting.REPORT)
    found = reporting.write(study, Path("results"), path, partial=partial)
    print(f"{path}: {len(found.jobs) - len(found.unfinished)} of {len(found.jobs)} jobs done")


def plan(files: list[Path]) -> None:
    """Show what a study will need, rule by rule, before anything is submitted: jobs, hours, disk, time limits."""
    from amorlip.monitor import plan as planning

    print(planning.text(_study(files), Path("results")))


def _study(files: list[Path]) -> Study:
    """The study that `snakemake --configfile FILE …` would run."""
    from amorlip.config.load import merged
    from amorlip.study import load_study, top_level_layers

    folder = Path(__file__).parent.parent / "config"
    layers = top_level_layers(files, folder)
    return load_study(merged(layers), folder, layers=layers)


def pin(files: list[Path]) -> None:
    """Write the commits and checksums of what a study fetched into its files: a source that changes is refused."""
    from amorlip import pins

    print("\n".join(pins.pin(_study(files), Path("results"))))


def preview(output: Path) -> None:
    """Make every table and figure of the paper from stand-ins: published numbers, and made-up ones marked as such."""
    from amorlip.preview.write import write

    paths = write(output, Path(__file__).parent.parent / "config")
    print(f"{output}: {len(paths)} files of tables and figures from stand-ins; README.md there says what they are")


def why() -> None:
    """Say which changed keys make jobs run again: `snakemake -n | amorlip why`, in the working directory."""
    from amorlip.changed_keys import explain

    print("\n".join(map(printable, explain(sys.stdin))) or "No key was changed that makes a job run again.")


def export(run: Path, output: Path) -> None:
    """Write a trained run as a folder that OpenCLIP loads ("local-dir:FOLDER"), with a model card."""
    from amorlip.reporting import model_folder

    model_folder.write(run, output)
    print(f'{output}: open_clip.create_model_and_transforms("local-dir:{output}") loads it')


def classify(model: Path, names: str, template: list[str] | None, pictures: list[Path]) -> None:
    """Classify pictures by an exported model: one line per picture, the names with their probabilities."""
    from amorlip.evaluation import classify as classifying

    given = [name.strip() for name in names.split(",")]
    for picture, ranked in classifying.classify(model, given, pictures, template or [classifying.TEMPLATE]):
        print(f"{picture}: {', '.join(f'{name} {probability:.1%}' for name, probability in ranked)}")


def bench(what: str, output: Path, tiny: bool, cases: list[str] | None, run: Path | None, peer: Path | None) -> None:
    """Measure time and memory next to other code, or what can be known of log Z; write a JSON and a Markdown file."""
    measuring = importlib.import_module(f"amorlip.bench.{what.replace('-', '_')}")
    table = output / f"{what}.md"
    for option, given in (("--tiny", tiny), ("--peer", peer)):
        if given and what not in STEP_BENCHES:
            listed = " and ".join(f"`amorlip bench {one}`" for one in STEP_BENCHES)
            raise AmorlipError(f"{option} is an option of {listed}")
    if (run is None) == (what == "log-z"):
        raise AmorlipError("--run FOLDER, a finished run, is needed by `amorlip bench log-z`, and by no other")
    values = {"tiny": tiny or None, "folder": run, "checkout": peer}
    options = {name: value for name, value in values.items() if value is not None}
    measuring.run(output / f"{what}.json", table, only=cases, **options)
    print(table.read_text(encoding="utf-8"), end="")


def check(what: str, output: Path, tiny: bool, cases: list[str] | None) -> None:
    """Check the code on this machine's GPU, in a few minutes; write a JSON file and a Markdown table."""
    from amorlip.bench import gpu_check

    gpu_check.run(output / f"{what}_check.json", output / f"{what}_check.md", tiny=tiny, only=cases)


# ---------------------------------------------------------------- parser

OPTIONS: dict[str, dict[str, Any]] = {
    "settings": {"help": "JSON text, or path of a YAML or JSON file"},
    "output": {"type": Path, "help": "file or folder to write"},
    "outputs": {"type": Path, "nargs": "+", "help": "files to write; the extension of each name decides its format"},
    "artwork": {"type": Path, "required": False, "help": "folder of the rendered pictures of emoji or icons"},
    "validation": {
        "type": Path,
        "required": False,
        "help": "folder of a corpus' validation split, if that is the source",
    },
    "allow-missing": {
        "type": int,
        "required": False,
        "default": 0,
        "help": "1: if the set is missing, write a record that says why, and exit with 0",
    },
    "split": {"choices": ["train", "validation"], "help": "split of the corpus"},
    "urls": {"type": Path, "help": "the corpus's urls.parquet"},
    "part": {"type": int, "required": False, "help": "download only this one of the --parts, 1 to their number"},
    "parts": {
        "type": int,
        "required": False,
        "help": "number of jobs that divide the download; without --part, these jobs have ended",
    },
    "processes": {"type": int, "required": False, "help": "worker processes"},
    "threads": {"type": int, "required": False, "help": "download threads per process"},
    "timeout-s": {"type": int, "required": False, "help": "timeout per image, in seconds"},
    "retries": {"type": int, "required": False, "help": "further passes over the addresses that failed"},
    "corpus": {"help": "name of the corpus"},
    "folder": {"type": Path, "help": "folder of the shards, or of the task's files"},
    "shards": {"type": Path, "help": "folder with manifest.json and index.parquet"},
    "tasks": {
        "type": Path,
        "required": False,
        "help": "folder that holds a folder for each task",
    },
    "checkpoint-every-steps": {"type": int, "required": False, "help": "steps between checkpoints"},
    "checkpoint-every-minutes": {"type": int, "required": False, "help": "longest time between checkpoints"},
    "gpus": {
        "type": int,
        "required": False,
        "help": "GPUs to use, which no other process of amorlip then uses (default: all that are visible, shared)",
    },
    "nodes": {"type": int, "required": False, "help": "nodes of a Slurm job that train one run together (default 1)"},
    "device": {
        "choices": ["auto", "cpu"],
        "required": False,
        "help": "cpu: use the CPU on purpose, although there is a GPU",
    },
    "time-limit-min": {"type": int, "required": False, "help": "the job's time limit, if its scheduler does not tell"},
    "log": {
        "type": Path,
        "required": False,
        "help": "link to make to train.log in the output folder, which then gets everything that is printed",
    },
    "wait": {
        "action": "store_true",
        "required": False,
        "help": "if another process trains this run, wait for it instead of refusing",
    },
    "from-start": {
        "action": "store_true",
        "required": False,
        "help": "train again from the first step; the checkpoints so far are set aside",
    },
    "run": {"type": Path, "required": False, "help": "folder of a trained run"},
    "model": {"required": False, "help": "OpenCLIP architecture, instead of a run"},
    "pretrained": {"required": False, "help": "path of a weights file, or OpenCLIP's name for weights to download"},
    "key": {"required": False, "help": "evaluate one task: its key in its benchmark"},
    "predictions": {
        "type": Path,
        "required": False,
        "help": "with --key: parquet file to write, one row per sample (default: next to the output)",
    },
    "record": {"type": Path, "required": False, "help": "with --tasks: file to write at the end"},
    "name": {"help": "name of the experiment"},
    "workers": {"type": int, "required": False, "help": "data-loading processes (for evaluation: all cores but one)"},
    "tiny": {"action": "store_true", "required": False, "help": "try the GPU's cases with a small model and batch"},
    "cases": {
        "nargs": "+",
        "required": False,
        "help": "measure only these cases; * in a name stands for any text, as in 'medium/*'",
    },
    "peer": {
        "type": Path,
        "required": False,
        "help": "folder with a checkout of the AmorLIP authors' release, which is timed in the same run",
    },
    "check": {"action": "store_true", "required": False, "help": "write nothing; exit with 1 if a file is out of date"},
}
STAGES = {
    "artwork": ("Download the packages of emoji or icons and render their pictures.", "settings output"),
    "urls": ("Write the list of addresses and captions of a corpus.", "settings artwork output"),
    "download": (
        "Download the pairs of one split into shards.",
        "settings split urls output part parts processes threads timeout-s retries",
    ),
    "shards": ("Check every pair of one split; write its manifest and index.", "settings corpus split folder"),
    "tasks": (
        "Build, download or link the files of one evaluation task.",
        "settings artwork validation output allow-missing",
    ),
    "train": (
        "Train one model.",
        "settings shards output tasks workers checkpoint-every-steps checkpoint-every-minutes from-start gpus nodes"
        " device time-limit-min log wait",
    ),
    "evaluate": (
        "Evaluate one model on tasks: a trained run (--run), or any OpenCLIP model (--model and --pretrained).",
        "settings run model pretrained tasks record key folder? predictions output workers gpus device",
    ),
    "weights": ("Download published weights into OpenCLIP's cache.", "settings output"),
    "table": ("Write one table in four formats.", "settings name outputs"),
    "figure": ("Draw one figure as png and pdf.", "settings name outputs"),
    "study_config": ("Write the study's top-level configuration next to its results.", "settings output"),
    "study_report": ("Write the study's own report, with a page for each run and task.", "settings output"),
}
"""Rule → what it does, and the options of its command. Without an option, the configuration's value is used.
`?` marks an option that this command does not need, though others do."""

STEP_BENCHES = ["train", "paper-table2"]
BENCHES = ["evaluation", "loader", "log-z", "objectives", "paper-table2", "scaling", "train"]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="amorlip", description="Reproduce and compare methods of CLIP training.")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="STAGE")

    def add(name: str, text: str, options: str, function: Callable[..., None]) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(function=function)
        for option in options.split():
            name, optional = option.removesuffix("?"), option.endswith("?")
            keywords: dict[str, Any] = {"required": not optional, **OPTIONS[name]}
            sub.add_argument(f"--{name}", **keywords)
        return sub

    for name, (text, options) in STAGES.items():
        add(name, text, options, partial(run_stage, name))
    add("schema", str(schema.__doc__), "check", schema)
    for function in (config, plan, status, pin, report):
        add(function.__name__, str(function.__doc__), "", function).add_argument(
            "files", type=Path, nargs="*", metavar="FILE", help="top-level files, later ones over earlier ones"
        )
    commands.choices["status"].add_argument(
        "--watch", type=float, nargs="?", const=10.0, metavar="SECONDS", help="show it again every SECONDS (10)"
    )
    commands.choices["report"].add_argument(
        "--partial", action="store_true", help="report what there is of a study that is not finished"
    )
    commands.choices["report"].add_argument(
        "--output", type=Path, help="HTML file to write (default: study.html or study-partial.html in results/STUDY/)"
    )
    add("preview", str(preview.__doc__), "output", preview)
    add("why", str(why.__doc__), "", why)
    add("export", str(export.__doc__), "output", export).add_argument(
        "run", type=Path, help="folder of the trained run, results/STUDY/runs/SCALE/RUN"
    )
    classifying = add("classify", str(classify.__doc__), "", classify)
    classifying.add_argument("--model", type=Path, required=True, help="folder that `amorlip export` wrote")
    classifying.add_argument("--names", required=True, help="class names, separated by commas")
    classifying.add_argument(
        "--template", action="append", help="prompt with {c} in place of the name; may be given again"
    )
    classifying.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE", help="picture to classify")
    benching = add("bench", str(bench.__doc__), "output tiny cases peer", bench)
    benching.add_argument("what", choices=BENCHES, help="what to measure")
    benching.add_argument("--run", type=Path, help="for log-z: a finished run, results/STUDY/runs/SCALE/RUN")
    add("check", str(check.__doc__), "output tiny cases", check).add_argument(
        "what", choices=["gpu"], help="what to check"
    )
    return top


ADVICE = {
    errno.ENOSPC: "; free some space and run again, nothing half-written was kept",
    errno.EDQUOT: "; free some space and run again, nothing half-written was kept",
    errno.EROFS: "; choose a folder that can be written to",
    errno.EACCES: "; change its permissions, or choose another folder",
    errno.EPERM: "; change its permissions, or choose another folder",
}


def system_trouble(error: OSError, args: argparse.Namespace) -> str:
    """What the operating system refused, in one line: the file or folder, the reason, what to do."""
    where = error.filename or getattr(args, "output", None) or getattr(args, "folder", None)
    code = error.errno or 0
    return printable(f"{f'{where}: ' if where else ''}{os.strerror(code)}{ADVICE.get(code, '')}")


def memory_trouble(error: RuntimeError | MemoryError) -> str | None:
    """What to do if memory ran out, in one line; None for any other error."""
    if not lacks_memory(error):
        return None
    return f"not enough memory ({one_line(error)}); use a smaller batch or micro-batch, model or corpus"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Exit codes: 0, 1 (bad input), 2 (usage), 75 (stopped by a signal), 130 (Ctrl-C)."""
    # albumentations, which img2dataset imports, looks up its newest version on the network unless this is set
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    args = parser().parse_args(arguments)
    if sys.platform != "linux":  # shared memory, forked loaders and /proc differ elsewhere
        print(f"amorlip {args.command}: runs on Linux only, and this is {sys.platform}; see README", file=sys.stderr)
        sys.exit(1)
    try:
        options = vars(args).copy()
        options.pop("command")
        options.pop("function")(**options)
    except KeyboardInterrupt:
        from amorlip.training import ranks

        print(f"amorlip {args.command}: interrupted", file=sys.stderr)
        ranks.leave(130)
    except Exception as error:
        from amorlip.training import ranks

        if (line := in_one_line(error, args)) is not None:
            print(f"amorlip {args.command}: {line}", file=sys.stderr)
        elif isinstance(error, ranks.PeerLost):  # `launch` tells what happened
            ranks.leave(ranks.LOST)
        elif ranks.is_rank():
            traceback.print_exc()
        else:
            raise
        ranks.leave(1)


def in_one_line(error: Exception, args: argparse.Namespace) -> str | None:
    """What a user is told; None where that is a fault of the program, or where another process tells it."""
    if isinstance(error, AmorlipError):
        return str(error) or None
    if isinstance(error, OSError):
        return None if error.errno is None else system_trouble(error, args)
    return memory_trouble(error) if isinstance(error, (MemoryError, RuntimeError)) else None
