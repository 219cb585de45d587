"""Networks that estimate log Z from a feature, and their training (stage I of the paper's Algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from amorlip.common.matmul import linear
from amorlip.objectives.collectives import average_gradients

CHUNK = 2048
"""Pairs that pass through the networks at once: bounds the memory for activations."""

Divergence = Callable[[Tensor, Tensor], Tensor]
"""(log λ, log Z) → one value per entry, smallest where they are equal."""


class Network(nn.Module):
    """One modality's u → log λ(u).

    a = LN(relu(W1 u)); b = LN(relu(W2 a)); out = W3 relu(b + u), with W1: d → h, W2: h → d, W3: d → 1 (released code).
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        # PyTorch's own start would draw from the generator that the encoders depend on
        self.linear1, self.norm1 = nn.utils.skip_init(nn.Linear, width, hidden), nn.LayerNorm(hidden)
        self.linear2, self.norm2 = nn.utils.skip_init(nn.Linear, hidden, width), nn.LayerNorm(width)
        self.linear3 = nn.utils.skip_init(nn.Linear, width, 1)

    @torch.no_grad()
    def initialize(self, generator: torch.Generator) -> None:
        """Fresh parameters from a CPU generator: uniform in ±1/√fan_in, as PyTorch's linear layers."""
        for layer in (self.linear1, self.linear2, self.linear3):
            bound = layer.in_features**-0.5
            for parameter in (layer.weight, layer.bias):
                fresh = torch.empty(parameter.shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator)
                parameter.copy_(fresh)
        self.norm1.reset_parameters()
        self.norm2.reset_parameters()

    def forward(self, features: Tensor) -> Tensor:
        """(b, d) → (b,) log λ."""
        features = features.to(self.linear1.weight.dtype)
        a = self.norm1(linear(features, self.linear1.weight, self.linear1.bias, relu=True))
        b = self.norm2(linear(a, self.linear2.weight, self.linear2.bias, relu=True))
        return self.linear3((b + features).relu_()).squeeze(-1)


class Networks(nn.Module):
    """The networks of both modalities."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.image, self.text = Network(width, hidden), Network(width, hidden)
        self.initialize(0)

    def initialize(self, seed: int) -> None:
        """Fresh parameters, the same on every rank and device."""
        generator = torch.Generator().manual_seed(seed)
        self.image.initialize(generator)
        self.text.initialize(generator)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Images and texts (b, d) → (2, b) log λ."""
        return torch.stack([self.image(image), self.text(text)])


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

    def reinitialize(self, seed: int) -> None:
        """Fresh online networks and Adam; the target starts as their copy."""
        self.online.initialize(seed)
        self.target.load_state_dict(self.online.state_dict())
        self.optimizer = self._fresh_optimizer()

    def keep_previous(self) -> None:
        """The target becomes the network of the epoch before."""
        self.previous.load_state_dict(self.target.state_dict())

    @torch.no_grad()
    def start_at(self, log_z: Tensor) -> None:
        """Set the output biases of online and target networks to `log_z` (2,)."""
        for networks in (self.online, self.target):
            networks.image.linear3.bias.copy_(log_z[:1])
            networks.text.linear3.bias.copy_(log_z[1:])

    def fit(self, image: Tensor, text: Tensor, log_target: Tensor, divergence: Divergence, steps: int) -> None:
        """`steps` Adam steps on the mean divergence over the pairs of all ranks, summed over the modalities.

        `image`, `text` (b, d) and `log_target` (2, b) are this rank's and constant.
        """
        parameters = list(self.online.parameters())
        log_target = log_target.to(parameters[0].dtype)
        for _ in range(steps):
            self.optimizer.zero_grad()
            with torch.enable_grad():
                for rows in _chunks(len(image)):
                    estimate = self.online(image[rows], text[rows])
                    (divergence(estimate, log_target[:, rows]).sum() / len(image)).backward()
            average_gradients(parameters, self.world_size)
            if self.grad_clip is not None:
                nn.utils.clip_grad_norm_(parameters, self.grad_clip, foreach=True)
            self.optimizer.step()
        self.optimizer.zero_grad()

    @staticmethod
    @torch.no_grad()
    def estimate(networks: Networks, image: Tensor, text: Tensor) -> Tensor:
        """log λ (2, b) of `networks` for features (b, d), as a constant of the features' type."""
        parts = [networks(image[rows], text[rows]) for rows in _chunks(len(image))]
        return torch.cat(parts, dim=1).to(image.dtype)

    @torch.no_grad()
    def update_target(self, alpha: float) -> None:
        """target ← α·target + (1-α)·online."""
        torch._foreach_lerp_(list(self.target.parameters()), list(self.online.parameters()), 1.0 - alpha)

    def get_extra_state(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.optimizer = self._fresh_optimizer()
        self.optimizer.load_state_dict(state)


def _chunks(pairs: int) -> list[slice]:
    """Slices of so many pairs, few enough each to pass through the networks at once."""
    return [slice(start, start + CHUNK) for start in range(0, pairs, CHUNK)]
