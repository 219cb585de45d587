"""Starts the training program of the AmorLIP authors' release, in a process of its own: PROGRAM CONFIGS OPTION...

Their program imports the evaluation of 38 tasks before it trains, and with it packages that no training step uses; here
that module is empty. CONFIGS is a folder of architectures, in which ours have the names that `--model` gives.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


def main(configs: str, *options: str) -> None:
    """Train, with the release's `src` first on the path."""
    evaluation = ModuleType("datacomp.evaluate")
    vars(evaluation).update(evaluate=_not_evaluated, convert_to_csv=_not_evaluated)
    sys.modules[evaluation.__name__] = evaluation
    importlib.import_module("open_clip").add_model_config(configs)
    importlib.import_module("open_clip_train.main").main([*options])


def _not_evaluated(*_arguments: Any, **_options: Any) -> dict[str, Any]:
    return {}


if __name__ == "__main__":
    main(*sys.argv[1:])
