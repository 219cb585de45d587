"""The command `amorlip`: one subcommand a stage of the workflow, under the name of its rule.

Each reads its settings (JSON text, or the path of a YAML or JSON file), calls one function and exits 0; bad
input is told in one line and exits 1. Imports happen inside the commands, so that each loads only what it needs.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amorlip import __version__
from amorlip.config import Corpus, EmojiSource, EvaluationSettings, Run, Section, Task, TaskSource
from amorlip.errors import AmorlipError, lacks_memory


def settings(text: str) -> dict[str, Any]:
    """The mapping given on the command line as JSON text, or as the path of a YAML or JSON file."""
    from amorlip.resolve import read_yaml

    if not text.lstrip().startswith("{"):
        return read_yaml(Path(text))
    try:
        return json.loads(text)
    except ValueError as error:
        raise AmorlipError(f"settings: not valid JSON: {error}") from error


def section(kind: type[Section], data: dict[str, Any], **known: Any) -> Any:
    """`data` as a configuration section; `known` are keys that rules leave out because the stage does not need them."""
    from amorlip.resolve import validate

    return validate(kind, {**known, **data}, "settings")


def task(key: str, folder: str, data: dict[str, Any]) -> Task:
    """A task whose files lie in `folder`."""
    return section(Task, data, title=key, source={"kind": "folder", "path": folder})


# ---------------------------------------------------------------- source → shards


def artwork(args: argparse.Namespace) -> None:
    """Fetch the emoji packages and render their pictures."""
    from amorlip.data import emoji

    emoji.build_artwork(section(EmojiSource, settings(args.settings)), args.output)


def urls(args: argparse.Namespace) -> None:
    """Write the list of addresses and captions of a corpus."""
    from amorlip.data import emoji
    from amorlip.data import urls as lists

    corpus = section(Corpus, settings(args.settings), title="")
    if corpus.source == "emoji":
        emoji.write_urls(args.artwork, args.output)
    else:
        lists.write_urls(corpus.urls, args.output)


def download(args: argparse.Namespace) -> None:
    """Download the pairs of one split into shards."""
    from amorlip.data import download as downloading

    corpus = section(Corpus, settings(args.settings), title="")
    patience = {"processes": args.processes, "threads": args.threads, "timeout_s": args.timeout_s}
    corpus = corpus.model_copy(
        update={"download": corpus.download.model_copy(update={**patience, "retries": args.retries})}
    )
    downloading.download(corpus, args.split, args.urls, args.output)


def shards(args: argparse.Namespace) -> None:
    """Check every pair of one split and write its manifest and index."""
    from amorlip.data import shards as checking

    checking.build_manifest(args.corpus, section(Corpus, settings(args.settings), title=""), args.split, args.folder)


def tasks(args: argparse.Namespace) -> None:
    """Build or link the files of one evaluation task."""
    from amorlip.data import tasks as building

    source = section(TaskSource, settings(args.settings))
    building.provide(source, args.artwork, args.output, allow_missing=bool(args.allow_missing))


# ---------------------------------------------------------------- run


def train(args: argparse.Namespace) -> None:
    """Train one model; several ranks are started as torchrun starts them, which may also be done by hand."""
    from amorlip.training import launch

    data = settings(args.settings)
    run = section(Run, data["run"])
    if run.recipe.ranks > 1 and not launch.is_rank():
        sys.exit(launch.launch(run.recipe.ranks, [sys.executable, "-m", "amorlip", *sys.argv[1:]]))
    from amorlip.training import loop

    loader = run.recipe.loader.model_copy(update={"workers": args.workers or 0})
    recipe = run.recipe.model_copy(update={"loader": loader, "checkpoint_every_steps": args.checkpoint_every_steps})
    folders = dict(pair.split("=", 1) for pair in args.task_folder)
    tasks = {
        key: None if _left_out(key, Path(folders[key])) else (task(key, folders[key], keys), Path(folders[key]))
        for key, keys in data["tasks"].items()
    }
    loop.train(run.model_copy(update={"recipe": recipe}), args.shards, args.output, tasks)


def _left_out(key: str, folder: Path) -> bool:
    from amorlip.data.tasks import RECORD, missing

    reason = missing(folder) if (folder / RECORD).is_file() else None
    if reason:
        print(f"{key} is not evaluated: {reason}", file=sys.stderr)
    return bool(reason)


def evaluate(args: argparse.Namespace) -> None:
    """Evaluate one model on one task: a trained run, or any OpenCLIP model with --model and --pretrained."""
    from amorlip.evaluation import command

    given = [value is not None for value in (args.run, args.model, args.pretrained)]
    if given not in ([True, False, False], [False, True, True]):
        raise AmorlipError("give either --run, or --model and --pretrained")
    data = settings(args.settings)
    keys = data["task"] if "task" in data else _task_of(data, args.key, args.settings)
    arguments = {
        "key": args.key,
        "task": task(args.key, str(args.folder), keys),
        "folder": args.folder,
        "settings": section(EvaluationSettings, data.get("evaluation", {})),
        "workers": len(os.sched_getaffinity(0)) - 1 if args.workers is None else args.workers,
        "output": args.output,
        "predictions": args.predictions or args.output.with_suffix(".parquet"),
    }
    if args.run:
        command.evaluate_run(args.run, **arguments)
    else:
        name = data.get("name", f"{args.model}, {args.pretrained}")
        command.evaluate_external(name, args.model, args.pretrained, **arguments)


def _task_of(benchmark: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    """A task's keys from a benchmark's file, which may take the place of the settings."""
    from amorlip.config import unknown_key

    tasks = benchmark.get("tasks", {})
    if key not in tasks:
        raise AmorlipError(f"{where}: {unknown_key(key, tasks, 'task')}")
    return {name: value for name, value in tasks[key].items() if name not in ("title", "source")}


# ---------------------------------------------------------------- report


def table(args: argparse.Namespace) -> None:
    """Write one table in four formats."""
    from amorlip.reporting import command

    command.table(args.name, settings(args.settings), args.outputs)


def figure(args: argparse.Namespace) -> None:
    """Draw one figure as png and pdf."""
    from amorlip.reporting import command

    command.figure(args.name, settings(args.settings), args.outputs)


# ---------------------------------------------------------------- configuration


def selection(args: argparse.Namespace) -> None:
    """Write the top-level configuration of a study beside its results."""
    import yaml

    from amorlip import files

    files.write_text(args.output, yaml.safe_dump(settings(args.settings), sort_keys=False))


def schema(args: argparse.Namespace) -> None:
    """Write the JSON schemas and the key tables of config/README.md."""
    from amorlip import schema as generating

    for path in generating.generate(Path(__file__).parent.parent, check=args.check):
        print(path)


def config(args: argparse.Namespace) -> None:
    """Check a configuration and print its runs with their complete recipes."""
    import yaml

    from amorlip import resolve

    study = resolve.load(resolve.read_yaml(args.file), args.file.parent, str(args.file))
    runs = {f"{run.scale}/{run.name}": run.model_dump() for _, run in study.runs}
    print(yaml.safe_dump(runs, sort_keys=False), end="")


# ---------------------------------------------------------------- benchmarks


def bench(args: argparse.Namespace) -> None:
    """Measure time and memory beside other code's; write a JSON file and a Markdown table."""
    import importlib

    measuring = importlib.import_module(f"amorlip.bench.{args.what}")
    table = args.output / f"{args.what}.md"
    if args.tiny and args.what != "train":
        raise AmorlipError("--tiny is an option of `amorlip bench train`")
    measuring.run(args.output / f"{args.what}.json", table, **({"tiny": True} if args.tiny else {}))
    print(table.read_text(encoding="utf-8"), end="")


# ---------------------------------------------------------------- parser

OPTIONS: dict[str, dict[str, Any]] = {
    "settings": {"help": "JSON text, or the path of a YAML or JSON file"},
    "output": {"type": Path, "help": "file or folder to write"},
    "outputs": {"type": Path, "nargs": "+", "help": "files to write, known by their endings"},
    "artwork": {"type": Path, "required": False, "help": "folder of the rendered emoji, where they are the source"},
    "allow-missing": {"type": int, "required": False, "default": 0, "help": "1: note a set that cannot be had, exit 0"},
    "split": {"choices": ["train", "validation"], "help": "split of the corpus"},
    "urls": {"type": Path, "help": "urls.parquet"},
    "processes": {"type": int, "required": False, "default": 1, "help": "worker processes"},
    "threads": {"type": int, "required": False, "default": 16, "help": "download threads per process"},
    "timeout-s": {"type": int, "required": False, "default": 10, "help": "patience per image [s]"},
    "retries": {"type": int, "required": False, "default": 1, "help": "passes over failed addresses"},
    "corpus": {"help": "name of the corpus"},
    "folder": {"type": Path, "help": "folder of the shards or of the task's files"},
    "shards": {"type": Path, "help": "folder with manifest.json and index.parquet"},
    "task-folder": {"required": False, "nargs": "*", "default": [], "help": "NAME=FOLDER of each of these tasks"},
    "checkpoint-every-steps": {"type": int, "required": False, "default": 1000, "help": "steps between checkpoints"},
    "run": {"type": Path, "required": False, "help": "folder of the trained run"},
    "model": {"required": False, "help": "OpenCLIP architecture, instead of a run"},
    "pretrained": {"required": False, "help": "OpenCLIP's name of its weights, which are downloaded, or a file"},
    "key": {"help": "key of the task"},
    "predictions": {"type": Path, "required": False, "help": "parquet file with one row a sample (default: beside)"},
    "name": {"help": "name of the experiment"},
    "workers": {
        "type": int,
        "required": False,
        "help": "data-loading processes (default: 0 to train, else cores less one)",
    },
    "tiny": {"action": "store_true", "required": False, "help": "the plan for a GPU at a small size, to try it"},
    "check": {"action": "store_true", "required": False, "help": "only compare; exit 1 if they differ"},
}
STAGES: list[tuple[Callable[[argparse.Namespace], None], str]] = [
    (artwork, "settings output"),
    (urls, "settings artwork output"),
    (download, "settings split urls output processes threads timeout-s retries"),
    (shards, "settings corpus split folder"),
    (tasks, "settings artwork output allow-missing"),
    (train, "settings shards output task-folder workers checkpoint-every-steps"),
    (evaluate, "settings run model pretrained key folder output predictions workers"),
    (table, "settings name outputs"),
    (figure, "settings name outputs"),
    (selection, "settings output"),
    (schema, "check"),
    (config, ""),
    (bench, "output tiny"),
]
BENCHES = ["evaluation", "loader", "objectives", "train"]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="amorlip", description="Reproduce and compare methods of CLIP training.")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="STAGE")
    for function, options in STAGES:
        sub = commands.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        sub.set_defaults(function=function)
        for option in options.split():
            sub.add_argument(f"--{option}", **{"required": True, **OPTIONS[option]})
        if function is config:
            sub.add_argument("file", type=Path, help="a top-level configuration file")
        if function is bench:
            sub.add_argument("what", choices=BENCHES, help="what to measure")
    return top


ADVICE = {
    errno.ENOSPC: "; free some space and run again, nothing half-written was kept",
    errno.EDQUOT: "; free some space and run again, nothing half-written was kept",
    errno.EROFS: "; choose a folder that can be written to",
    errno.EACCES: "; change its permissions, or choose another folder",
    errno.EPERM: "; change its permissions, or choose another folder",
}


def system_trouble(error: OSError, args: argparse.Namespace) -> str:
    """What the operating system refused, in one line: file (or the folder that is written to), reason, what to do."""
    where = error.filename or getattr(args, "output", None) or getattr(args, "folder", None)
    return f"{f'{where}: ' if where else ''}{os.strerror(error.errno)}{ADVICE.get(error.errno, '')}"


def memory_trouble(error: RuntimeError | MemoryError) -> str | None:
    """What to do about a lack of memory, in one line; None if the error is another one."""
    if not lacks_memory(error):
        return None
    said = " ".join(str(error).split())
    return f"not enough memory ({said[:200] or 'no details'}); use a smaller batch or micro-batch, model or corpus"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Exits 0, 1 (bad input, one line on stderr) or 2 (usage)."""
    # albumentations, which img2dataset imports, asks the network for its newest version unless told not to
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    args = parser().parse_args(arguments)
    try:
        args.function(args)
    except AmorlipError as error:
        print(f"amorlip {args.command}: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno is None:
            raise
        print(f"amorlip {args.command}: {system_trouble(error, args)}", file=sys.stderr)
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        if (trouble := memory_trouble(error)) is None:
            raise
        print(f"amorlip {args.command}: {trouble}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"amorlip {args.command}: interrupted", file=sys.stderr)
        sys.exit(130)
