"""Real calls of Snakemake that skip the seconds of its imports: each is forked from a process that has them."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import smart_open  # noqa: F401  imported by Snakemake when it opens a Snakefile
from snakemake import cli

import amorlip.stage_settings  # noqa: F401  imported by the Snakefile

TIMEOUT_S = 300

cli.get_argument_parser()  # imports all plugins

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__])


def snakemake(arguments: list[str], folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Exit code and output of `snakemake` with `arguments` in `folder`. Only for calls that start no job."""
    with tempfile.NamedTemporaryFile(mode="r", encoding="utf-8") as output:
        process = _processes.Process(target=_call, args=(arguments, folder, dict(environment), output.name))
        process.start()
        process.join(TIMEOUT_S)
        if process.exitcode is None:
            process.kill()
            process.join()
        return process.exitcode, output.read()


def _call(arguments: list[str], folder: Path, environment: dict[str, str], output: str) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    file = os.open(output, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    sys.argv = ["snakemake", *arguments]
    cli.main(arguments)
