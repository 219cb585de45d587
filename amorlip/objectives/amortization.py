"""Networks that estimate log Z from a feature, and their training (stage I of the paper's Algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from amorlip.objectives.collectives import average_gradients
from amorlip.objectives.products import affine

CHUNK = 2048
"""Pairs that pass through the networks at once: bounds the memory for activations."""

Divergence = Callable[[Tensor, Tensor], Tensor]
"""(log λ, log Z) → one value per entry, smallest where they are equal."""


class Networks(nn.Module):
    """One network per modality, u → log λ(u), held as stacked parameters so that one product serves both.

    a = LN(relu(W1 u)); b = LN(relu(W2 a)); out = W3 relu(b + u), with W1: d → h, W2: h → d, W3: d → 1 (released code).
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.weight1, self.bias1 = _parameter(2, width, hidden), _parameter(2, 1, hidden)
        self.gain1, self.shift1 = _parameter(2, 1, hidden), _parameter(2, 1, hidden)
        self.weight2, self.bias2 = _parameter(2, hidden, width), _parameter(2, 1, width)
        self.gain2, self.shift2 = _parameter(2, 1, width), _parameter(2, 1, width)
        self.weight3, self.bias3 = _parameter(2, width, 1), _parameter(2, 1, 1)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Fresh parameters, the same on every rank and device: uniform in ±1/√fan_in, as PyTorch's linear layers."""
        generator = torch.Generator().manual_seed(seed)
        for weight, bias in ((self.weight1, self.bias1), (self.weight2, self.bias2), (self.weight3, self.bias3)):
            bound = weight.shape[1] ** -0.5
            for parameter in (weight, bias):
                fresh = torch.empty(parameter.shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator)
                parameter.copy_(fresh)
        for gain, shift in ((self.gain1, self.shift1), (self.gain2, self.shift2)):
            gain.fill_(1.0)
            shift.zero_()

    def forward(self, features: Tensor) -> Tensor:
        """(2, b, d) images and texts → (2, b) log λ."""
        features = features.to(self.weight1.dtype)
        a = affine(features, self.weight1, self.bias1).relu_()
        a = torch.addcmul(self.shift1, functional.layer_norm(a, a.shape[-1:]), self.gain1)
        b = affine(a, self.weight2, self.bias2).relu_()
        b = torch.addcmul(self.shift2, functional.layer_norm(b, b.shape[-1:]), self.gain2)
        # A product with one column: element by element it is several times faster than as a matrix product.
        return ((b + features).relu_() * self.weight3.mT).sum(-1) + self.bias3[:, 0]


class Amortization(nn.Module):
    """Online networks with their Adam, the target (their moving average) and the target of the epoch before."""

    def __init__(self, width: int, hidden: int, *, lr: float, grad_clip: float | None, world_size: int) -> None:
        super().__init__()
        self.online = Networks(width, hidden)
        self.target = Networks(width, hidden).requires_grad_(False)
        self.previous = Networks(width, hidden).requires_grad_(False)
        self.lr, self.grad_clip, self.world_size = lr, grad_clip, world_size
        self.optimizer = self._fresh_optimizer()

    def _fresh_optimizer(self) -> torch.optim.Adam:
        return torch.optim.Adam(self.online.parameters(), lr=self.lr, fused=True)

    def reinitialise(self, seed: int) -> None:
        """Fresh online networks and Adam; the target starts as their copy."""
        self.online.initialise(seed)
        self.target.load_state_dict(self.online.state_dict())
        self.optimizer = self._fresh_optimizer()

    def keep_previous(self) -> None:
        """The target becomes the network of the epoch before."""
        self.previous.load_state_dict(self.target.state_dict())

    @torch.no_grad()
    def start_at(self, log_z: Tensor) -> None:
        """Set the output biases of online and target networks to `log_z` (2,)."""
        for networks in (self.online, self.target):
            networks.bias3.copy_(log_z.view(2, 1, 1))

    def fit(self, image: Tensor, text: Tensor, log_target: Tensor, divergence: Divergence, steps: int) -> None:
        """`steps` Adam steps on the mean divergence over the pairs of all ranks, summed over the modalities.

        `image`, `text` (b, d) and `log_target` (2, b) are this rank's and constant.
        """
        parameters = list(self.online.parameters())
        log_target = log_target.to(parameters[0].dtype)
        for _ in range(steps):
            self.optimizer.zero_grad()
            with torch.enable_grad():
                for rows, part in _stacks(image, text):
                    (divergence(self.online(part), log_target[:, rows]).sum() / len(image)).backward()
            average_gradients(parameters, self.world_size)
            if self.grad_clip is not None:
                nn.utils.clip_grad_norm_(parameters, self.grad_clip, foreach=True)
            self.optimizer.step()
        self.optimizer.zero_grad()

    @staticmethod
    @torch.no_grad()
    def estimate(networks: Networks, image: Tensor, text: Tensor) -> Tensor:
        """log λ (2, b) of `networks` for features (b, d), as a constant of the features' type."""
        return torch.cat([networks(part) for _, part in _stacks(image, text)], dim=1).to(image.dtype)

    @torch.no_grad()
    def update_target(self, alpha: float) -> None:
        """target ← α·target + (1-α)·online."""
        torch._foreach_lerp_(list(self.target.parameters()), list(self.online.parameters()), 1.0 - alpha)

    def get_extra_state(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.optimizer = self._fresh_optimizer()
        self.optimizer.load_state_dict(state)


def _stacks(image: Tensor, text: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Slices of pairs with their features (2, rows, d), few enough to pass through the networks at once."""
    for start in range(0, len(image), CHUNK):
        rows = slice(start, start + CHUNK)
        yield rows, torch.stack([image[rows], text[rows]])


def _parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape, dtype=torch.float32))
