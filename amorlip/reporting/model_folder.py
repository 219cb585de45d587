"""A trained run as a folder that plain OpenCLIP loads, with a model card."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.constants import HF_CONFIG_NAME, HF_SAFE_WEIGHTS_NAME
from safetensors import safe_open
from safetensors.torch import load_file, save

from amorlip import models
from amorlip.common import files
from amorlip.common.errors import AmorlipError
from amorlip.config.run import RUN_FILE, read_run
from amorlip.evaluation.record import Evaluation
from amorlip.reporting.model_card import Card, model_card
from amorlip.training.records import Provenance

WEIGHTS, PROVENANCE, CARD = "model.safetensors", "provenance.json", "README.md"


def write(run: Path, output: Path) -> None:
    """Export the run in the folder `run` into the folder `output`, which must be new or empty.

    `open_clip.create_model_and_transforms("local-dir:OUTPUT")` then loads it. The scores in the card are those in the
    study's folder `evaluations`, if the run is in its place in `results/`.

    Raises:
        AmorlipError: if the run is not trained, its files do not fit together, or `output` is not empty.
    """
    for name in (RUN_FILE, PROVENANCE, WEIGHTS):
        if not (run / name).is_file():
            raise AmorlipError(f"{run} has no {name}; give the folder of a trained run, results/STUDY/runs/SCALE/RUN")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise AmorlipError(f"{output} exists and is not an empty folder; choose another --output")
    settings, provenance = read_run(run), Provenance.read(run / PROVENANCE)
    architecture, preprocessing = _configuration(settings.recipe.model, run / WEIGHTS)
    card = Card(settings, provenance, _evaluations(run), output.name)
    files.write_json(output / HF_CONFIG_NAME, {"model_cfg": architecture, "preprocess_cfg": preprocessing})
    files.write_text(output / CARD, model_card(card))
    for name in (RUN_FILE, PROVENANCE):
        shutil.copyfile(run / name, output / name)
    files.write_bytes(output / HF_SAFE_WEIGHTS_NAME, _weights(run / WEIGHTS))


def _configuration(model: str, weights: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """OpenCLIP's description of the model, and how its pictures are prepared."""
    network = models.load(weights, model).network
    architecture = models.architecture(model)
    if (bias := _logit_bias(weights)) is not None:
        architecture = {**architecture, "init_logit_bias": bias}
    preprocessing = open_clip.get_model_preprocess_cfg(network)
    return architecture, {key: preprocessing[key] for key in ("mean", "std", "interpolation", "resize_mode")}


def _weights(path: Path) -> bytes:
    """The run's weights, with the logit bias as a tensor: here OpenCLIP knows from the configuration that there is one.

    See `models.export`, which leaves it out.
    """
    bias, tensors = _logit_bias(path), load_file(path)
    if bias is not None:
        tensors["logit_bias"] = torch.tensor(bias)
    return save(tensors, metadata={"format": "pt"})


def _logit_bias(path: Path) -> float | None:
    with safe_open(path, "pt") as file:
        bias = (file.metadata() or {}).get("logit_bias")
    return None if bias is None else float(bias)


def _evaluations(run: Path) -> Iterable[Evaluation]:
    """The run's evaluations by task, where the workflow puts them: results/STUDY/evaluations/SCALE/RUN."""
    run = run.absolute()
    if len(run.parents) < 3 or run.parents[1].name != "runs":
        return []
    folder = run.parents[2] / "evaluations" / run.parent.name / run.name
    return [Evaluation.read(path) for path in sorted(folder.glob("*.json"))]
