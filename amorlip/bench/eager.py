"""What a user would write without this package: OpenCLIP's model and loss, AdamW and a WebDataset pipeline.

Optimizer, crop, logit scale and clipping are those of the run it is compared with. Everything else has its defaults.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import webdataset
from open_clip import get_model_preprocess_cfg
from open_clip.loss import ClipLoss
from open_clip.transform import PreprocessCfg, image_transform_v2
from torch import Tensor, nn

from amorlip import models
from amorlip.config.recipe import Recipe
from amorlip.config.run import Run
from amorlip.training import session

SHUFFLED = 1000
"""Pairs that WebDataset holds and draws from."""


def loop(run: Run, shards: Path) -> Callable[[int], None]:
    """A function that trains for a number of steps; each call continues after the last."""
    torch.set_num_threads(run.recipe.threads_per_rank)
    model, loss = session.new_model(run), ClipLoss()
    optimizer = _adamw(model, run.recipe)
    stream = iter(_pairs(model, run.recipe, shards))

    def train(steps: int) -> None:
        for _ in range(steps):
            images, tokens = next(stream)
            optimizer.zero_grad()
            loss(*model(images, tokens)).backward()
            if run.recipe.optimizer.grad_clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), run.recipe.optimizer.grad_clip)
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0.0, math.log(run.recipe.logit_scale.max))

    return train


def _adamw(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    settings = recipe.optimizer
    # as OpenCLIP's training script groups them
    gains = [p for p in model.parameters() if p.ndim < 2]
    weights = [p for p in model.parameters() if p.ndim >= 2]
    groups = [{"params": gains, "weight_decay": 0.0}, {"params": weights, "weight_decay": settings.weight_decay}]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=(settings.beta1, settings.beta2), eps=settings.eps)


def _pairs(model: nn.Module, recipe: Recipe, shards: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches: shards and pairs shuffled, decoded with Pillow, transformed by OpenCLIP."""
    crop = {"scale": (recipe.augmentation.crop_scale_min, recipe.augmentation.crop_scale_max)}
    transform = image_transform_v2(PreprocessCfg(**get_model_preprocess_cfg(model)), is_train=True, aug_cfg=crop)
    tokenizer = models.tokenizer(recipe.model)
    pipeline = webdataset.DataPipeline(
        webdataset.ResampledShards([str(path) for path in sorted(shards.glob("*.tar"))]),
        webdataset.tarfile_to_samples(),
        webdataset.shuffle(SHUFFLED),
        webdataset.decode("pilrgb"),
        webdataset.to_tuple("jpg;png;webp", "txt"),
        webdataset.map_tuple(transform, lambda text: tokenizer([text])[0]),
        webdataset.batched(recipe.batch_size, partial=False),
    )
    return webdataset.WebLoader(pipeline, batch_size=None, num_workers=recipe.loader.workers)
