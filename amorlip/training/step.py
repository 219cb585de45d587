"""One training step: features, objective, gradients, update.

Shape suffixes: B pairs of this rank, M pairs of a micro-batch, D width of the features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn

from amorlip import models
from amorlip.config import Recipe
from amorlip.data.loader import Batch
from amorlip.errors import AmorlipError
from amorlip.objectives.base import Features, Objective
from amorlip.training import distributed
from amorlip.training.distributed import World
from amorlip.training.optim import Optimizer, Update, logit_parameters

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Encoders(nn.Module):
    """Both towers of an OpenCLIP model, as one module with one forward pass.

    On a GPU they run under autocast; their features leave it as float32 and are normalised there, so that similarities
    and everything after them are float32.
    """

    def __init__(self, model: nn.Module, precision: str) -> None:
        super().__init__()
        self.model = model
        self.normalise = models.Normalisation(model).to(model.logit_scale.device)
        self.dtype = AUTOCAST.get(precision)
        convolutional = isinstance(model.visual, ModifiedResNet)
        self.memory_format = torch.channels_last if convolutional else torch.contiguous_format
        model.visual.to(memory_format=self.memory_format)

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Images (M, 3, H, W), uint8, and tokens (M, L) → features (M, D) each, float32, of unit length."""
        images = self.normalise(images.contiguous(memory_format=self.memory_format))
        with torch.autocast(images.device.type, self.dtype, enabled=images.is_cuda and self.dtype is not None):
            image_MD, text_MD = self.model.encode_image(images), self.model.encode_text(tokens)
        return F.normalize(image_MD.float(), dim=-1), F.normalize(text_MD.float(), dim=-1)


class Outcome(NamedTuple):
    """One step's update and the objective's diagnostics (0-d tensors of this rank)."""

    update: Update
    diagnostics: dict[str, Tensor]


class TrainStep:
    """Callable on a batch: computes the loss and its gradients and updates the model in place."""

    def __init__(
        self, model: nn.Module, objective: Objective, optimizer: Optimizer, recipe: Recipe, world: World
    ) -> None:
        pairs = _pairs_of_rank(recipe)
        self.micro = recipe.micro_batch_size if recipe.micro_batch_size != pairs else None
        self.model, self.objective, self.optimizer, self.world = model, objective, optimizer, world
        self.encoders = distributed.wrap(Encoders(model, recipe.precision), world, logit_parameters(model))

    def __call__(self, batch: Batch, *, step: int, epoch: int, log: bool) -> Outcome:
        """Train on `batch` as global step `step` (from 0); diagnostics are computed if `log`."""
        images, tokens, ids = (
            tensor.to(self.world.device, non_blocking=True) for tensor in (batch.images, batch.tokens, batch.sample_ids)
        )
        self.optimizer.zero_grad()
        backward = self._whole if self.micro is None else self._in_parts
        loss, diagnostics = backward(images, tokens, {"sample_ids": ids, "step": step, "epoch": epoch, "log": log})
        return Outcome(self.optimizer.update(loss, step), diagnostics)

    def _whole(self, images: Tensor, tokens: Tensor, facts: dict) -> tuple[Tensor, dict[str, Tensor]]:
        return self._differentiate(*self.encoders(images, tokens), facts)

    def _in_parts(self, images: Tensor, tokens: Tensor, facts: dict) -> tuple[Tensor, dict[str, Tensor]]:
        """Features of the whole batch first, without graph; then each part again, with the gradient of its features.

        The gradient is that of the whole batch, for towers without random parts; BatchNorm uses each part's statistics,
        and the second pass alone moves its running ones.
        """
        parts = list(zip(images.split(self.micro), tokens.split(self.micro), strict=True))
        plain = self.encoders.module if self.world.size > 1 else self.encoders
        with torch.no_grad(), frozen_running_statistics(plain):
            cached = [plain(*part) for part in parts]
        image_BD, text_BD = (torch.cat(side).requires_grad_() for side in zip(*cached, strict=True))
        loss, diagnostics = self._differentiate(image_BD, text_BD, facts)
        gradients = zip(image_BD.grad.split(self.micro), text_BD.grad.split(self.micro), strict=True)
        for number, (part, gradient) in enumerate(zip(parts, gradients, strict=True), start=1):
            waits = self.world.size > 1 and number < len(parts)
            with self.encoders.no_sync() if waits else nullcontext():
                torch.autograd.backward(self.encoders(*part), gradient)
        return loss, diagnostics

    def _differentiate(self, image_BD: Tensor, text_BD: Tensor, facts: dict) -> tuple[Tensor, dict[str, Tensor]]:
        features = Features(image_BD, text_BD, self.model.logit_scale.exp(), self.model.logit_bias, **facts)
        result = self.objective(features)
        self.optimizer.scale(result.loss).backward()
        return result.loss, result.diagnostics


@contextmanager
def frozen_running_statistics(module: nn.Module) -> Iterator[None]:
    """BatchNorm layers in training mode use their batch's statistics as ever, but leave the running ones alone."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _pairs_of_rank(recipe: Recipe) -> int:
    pairs, rest = divmod(recipe.batch_size, recipe.ranks)
    if rest:
        raise AmorlipError(f"batch_size {recipe.batch_size} is not a multiple of the {recipe.ranks} ranks")
    if pairs % (recipe.micro_batch_size or pairs):
        raise AmorlipError(f"micro_batch_size {recipe.micro_batch_size} does not divide a rank's {pairs} pairs")
    return pairs
