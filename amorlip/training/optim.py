"""The optimizer of encoders, logit scale and logit bias: parameter groups, rates, clipping, and skipped updates.

Nothing here waits for a GPU: the fused kernel itself skips an update that is not finite.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from amorlip.common.errors import AmorlipError, one_line
from amorlip.config.recipe import LogitScale, Recipe
from amorlip.training import schedule
from amorlip.training.distributed import World


class Update(NamedTuple):
    """What one step did; 0-d tensors on the device, equal on all ranks."""

    loss: Tensor
    """Mean over the ranks."""
    grad_norm: Tensor
    """Of the parameters that are clipped together (`grad_clip_parameters`), before clipping."""
    applied: Tensor
    """False: loss or gradient was not finite, and no weight has changed."""
    failed: Tensor
    """True: not applied, and not because the float16 loss scale was too high, which corrects itself."""


class Optimizer:
    """AdamW as OpenCLIP uses it, as one object with one state.

    Weight decay applies to the encoders' weights; not to gains and biases (all tensors with fewer than two dimensions),
    the logit scale and the logit bias. The gradient norm that is clipped is that of the encoders or of all parameters.
    The logit scale has its own rate or follows the encoders', and is kept in [1, max]. With float16 the loss is scaled
    (`torch.amp.GradScaler`).
    """

    def __init__(self, model: nn.Module, recipe: Recipe, *, steps: int, world: World) -> None:
        schedule.check(recipe.schedule.warmup_steps, steps)
        self.recipe, self.steps, self.world = recipe, steps, world
        self.log_scale = cast(nn.Parameter, model.logit_scale)
        self.scale_rate = ScaleRate(recipe.logit_scale, world.device)
        self.logit_parameters = logit_parameters(model)
        inside = {id(parameter) for parameter in self.logit_parameters}
        self.encoders = [p for p in model.parameters() if p.requires_grad and id(p) not in inside]
        self.adamw = _adamw(self._groups(model), recipe)
        self.scaler = torch.amp.GradScaler(
            world.device.type, enabled=world.device.type == "cuda" and recipe.precision == "float16"
        )

    def learning_rate(self, step: int) -> float:
        """The encoders' rate at `step`."""
        return schedule.warmup_cosine(
            step, peak=self.recipe.optimizer.lr, warmup_steps=self.recipe.schedule.warmup_steps, steps=self.steps
        )

    def zero_grad(self) -> None:
        """Drop the gradients."""
        self.adamw.zero_grad(set_to_none=True)

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to differentiate: multiplied with the loss scale under float16."""
        return self.scaler.scale(loss)

    def update(self, loss: Tensor, step: int) -> Update:
        """Apply the gradients of `step` unless they or the loss are not finite. `loss` is this rank's, unscaled."""
        loss = self._average(loss)
        self.scaler.unscale_(self.adamw)
        norm = self._clip()
        scalars = [p.grad for p in self.logit_parameters if p.grad is not None]
        finite = torch.stack([torch.isfinite(value) for value in (loss, norm, *scalars)])
        applied = finite.all()
        self._set_rates(step)
        # GradScaler's undeclared interface to fused optimizers: with found_inf = 1 the kernel changes nothing.
        vars(self.adamw).update(grad_scale=None, found_inf=(~applied).float())
        self.adamw.step()
        self.scaler.update()
        with torch.no_grad():  # τ in [1, max], as OpenCLIP and CLIP
            self.log_scale.clamp_(0.0, math.log(self.recipe.logit_scale.max))
        return Update(loss, norm, applied, ~finite[0] if self.scaler.is_enabled() else ~applied)

    def scale_learning_rate(self) -> Tensor | None:
        """() the logit scale's own rate in the last update; None where it follows the encoders' or is fixed."""
        return torch.as_tensor(self.adamw.param_groups[-1]["lr"]) if self._has_own_rate() else None

    def state_dict(self) -> dict[str, Any]:
        """Everything that an exact resume needs."""
        return {"adamw": self.adamw.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.adamw.load_state_dict(state["adamw"])
        self.scaler.load_state_dict(state["scaler"])

    def _has_own_rate(self) -> bool:
        return self.recipe.logit_scale.lr is not None and self.log_scale.requires_grad

    def _groups(self, model: nn.Module) -> list[dict[str, Any]]:
        # OpenCLIP's rule: everything with fewer than two dimensions, and logit scale and bias, without decay
        decayed = [p for p in self.encoders if p.ndim >= 2]
        plain = [p for p in self.encoders if p.ndim < 2]
        own = [self.log_scale] if self._has_own_rate() else []
        plain += [p for p in self.logit_parameters if not any(p is q for q in own)]
        groups = [
            {"params": decayed, "weight_decay": self.recipe.optimizer.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        return groups + ([{"params": own, "weight_decay": 0.0}] if own else [])

    def _average(self, loss: Tensor) -> Tensor:
        """Average loss and gradients of the logit parameters over the ranks: a few numbers in one exchange.

        DistributedDataParallel does not: see `distributed.wrap`.
        """
        loss = loss.detach().clone()
        if self.world.size == 1:
            return loss
        gradients = [p.grad for p in self.logit_parameters if p.grad is not None]
        packed = self.world.mean_(torch.stack([loss, *gradients]))
        torch._foreach_copy_(gradients, list(packed[1:].unbind()))
        return packed[0]

    def _clip(self) -> Tensor:
        # the release clips all parameters, as OpenCLIP does: docs/decisions/2026-11-26-clipped-parameters.md
        everything = self.recipe.optimizer.grad_clip_parameters == "all"
        clipped = [*self.encoders, *self.logit_parameters] if everything else self.encoders
        norm = nn.utils.get_total_norm([p.grad for p in clipped if p.grad is not None], foreach=True)
        if self.recipe.optimizer.grad_clip is not None:
            nn.utils.clip_grads_with_norm_(clipped, self.recipe.optimizer.grad_clip, norm, foreach=True)
        return norm

    def _set_rates(self, step: int) -> None:
        for group in self.adamw.param_groups:
            group["lr"] = self.learning_rate(step)
        if self._has_own_rate():
            self.adamw.param_groups[-1]["lr"] = self.scale_rate(self.log_scale)


class ScaleRate:
    """The logit scale's own learning rate: constant, and lower while the temperature 1/τ is at a threshold or below.

    Compared again at every step, as in the release and FastCLIP's code: the rate rises again if the temperature does.
    On the device, so that nothing waits for τ.
    """

    def __init__(self, settings: LogitScale, device: torch.device) -> None:
        self.drop = settings.drop
        self.lr = torch.tensor(settings.lr or 0.0, device=device)

    def __call__(self, log_scale: Tensor) -> Tensor:
        """Rate () of the next update, given log τ before it."""
        if self.drop is None:
            return self.lr
        is_low = (-log_scale.detach()).exp() <= self.drop.temperature
        return torch.where(is_low, self.lr * self.drop.factor, self.lr)


def logit_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Logit scale and logit bias, those of them that are trained."""
    scalars = (model.logit_scale, model.logit_bias)
    return [scalar for scalar in scalars if isinstance(scalar, nn.Parameter) and scalar.requires_grad]


def _adamw(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.AdamW:
    settings = recipe.optimizer
    try:
        return torch.optim.AdamW(
            groups, lr=settings.lr, betas=(settings.beta1, settings.beta2), eps=settings.eps, fused=True
        )
    except ValueError as error:
        raise AmorlipError(f"recipe.optimizer: {one_line(error)}") from error
