"""Estimate what a study costs on GPUs and disks, from its configuration: `python docs/paper_cost.py config/paper.yaml`.

Operations are counted in a forward pass of one pair on the CPU; a training step is three of them. A GPU is assumed to
do PEAK x EFFICIENCY operations per second. Nothing here was measured on a GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

import open_clip
import torch
from torch.utils.flop_counter import FlopCounterMode

from amorlip import models
from amorlip.config.load import read_yaml
from amorlip.study import Study, load_study

PEAK = 989e12
"""Dense bfloat16 operations per second of one H100 (NVIDIA's data sheet)."""
EFFICIENCY = (0.1, 0.3)
"""Assumed share of the peak, slow and fast. RN50 on CC3M took 8 V100 12 hours (OpenCLIP's authors): 11% of theirs."""
JPEG_BYTES = 47_784
"""Mean size of a stored picture in `make bench-loader` (341 x 256 pixels, quality 95)."""


def operations(model_name: str) -> tuple[float, int]:
    """Floating-point operations of a forward pass of one pair, and the number of parameters."""
    model = open_clip.create_model(model_name).eval()
    side = models.image_size(model)
    height, width = (side, side) if isinstance(side, int) else side
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.encode_image(torch.zeros(1, 3, height, width))
        model.encode_text(open_clip.get_tokenizer(model_name)(["a photo"]))
    return counter.get_total_flops(), sum(parameter.numel() for parameter in model.parameters())


def scale_cost(study: Study, scale_name: str) -> str:
    """One row: pairs, hours of a run, GPU-hours of all runs, the configured limit, and disk."""
    scale = study.scales[scale_name]
    recipe, runs = scale.recipe, [run for _, run in study.runs if run.scale == scale_name]
    pairs = study.corpora[recipe.corpus].published_pairs or 0
    flops, parameters = operations(recipe.model)
    slow, fast = (3 * flops * pairs * recipe.epochs / (PEAK * share) / 3600 for share in EFFICIENCY)
    gpus = scale.train_resources.gpus
    limit = scale.train_resources.runtime_min / 60
    # weights, and two checkpoints of the weights and AdamW's two moments, in float32
    disk = len(runs) * parameters * 4 * (1 + 2 * 3) / 1e9
    return (
        f"| {scale.title} | {pairs:,} x {recipe.epochs} | {len(runs)} | {fast:.0f} to {slow:.0f} |"
        f" {len(runs) * gpus * fast:.0f} to {len(runs) * gpus * slow:.0f} | {limit:.0f} |"
        f" {pairs * JPEG_BYTES / 1e9:.0f} | {disk:.0f} |"
    )


def main() -> None:
    """Print the table for the study named on the command line."""
    path = Path(sys.argv[1])
    study = load_study(read_yaml(path), path.parent, str(path))
    print("| scale | pairs x epochs | runs | hours per run | GPU-hours | limit per run [h] | corpus [GB] | runs [GB] |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in study.scales:
        print(scale_cost(study, name))


if __name__ == "__main__":
    main()
