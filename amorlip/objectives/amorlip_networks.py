"""The amortization networks, which estimate log Z from a feature, and their training (stage I of Algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from amorlip.common.matmul import linear
from amorlip.objectives.collectives import average_gradients

CHUNK = 2048
"""Largest number of pairs in one pass through the networks: bounds the memory for activations."""

Divergence = Callable[[Tensor, Tensor], Tensor]
"""(log λ, log Z) → one value per element, with its minimum where they are equal."""


class Network(nn.Module):
    """One modality's u → log λ(u), as in the released code.

    a = LN(relu(W1 u)); b = LN(relu(W2 a)); out = W3 relu(b + u), with W1: d → h, W2: h → d, W3: d → 1.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear1, self.norm1 = _uninitialized(width, hidden), nn.LayerNorm(hidden)
        self.linear2, self.norm2 = _uninitialized(hidden, width), nn.LayerNorm(width)
        self.linear3 = _uninitialized(width, 1)

    @torch.no_grad()
    def initialize(self, generator: torch.Generator) -> None:
        """New parameters from a CPU generator: uniform in ±1/√fan_in, like PyTorch's linear layers."""
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
        a = self.norm1(linear(features, self.linear1.weight, self.linear1.bias, relu=True))  # (b, h)
        b = self.norm2(linear(a, self.linear2.weight, self.linear2.bias, relu=True))  # (b, d)
        return self.linear3((b + features).relu_()).squeeze(-1)


class NetworkPair(nn.Module):
    """One network for images and one for texts."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.image, self.text = Network(width, hidden), Network(width, hidden)
        self.initialize(0)

    def initialize(self, seed: int) -> None:
        """New parameters, the same on every rank and device."""
        generator = torch.Generator().manual_seed(seed)
        self.image.initialize(generator)
        self.text.initialize(generator)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Images and texts (b, d) → (2, b) log λ."""
        return torch.stack([self.image(image), self.text(text)])


class AmortizationNetworks(nn.Module):
    """Online networks with their Adam, the target (their moving average) and the target of the previous epoch."""

    def __init__(self, width: int, hidden: int, *, lr: float, grad_clip: float | None, world_size: int) -> None:
        super().__init__()
        self.online = NetworkPair(width, hidden)
        self.target = NetworkPair(width, hidden).requires_grad_(False)
        self.previous = NetworkPair(width, hidden).requires_grad_(False)
        self.lr, self.grad_clip, self.world_size = lr, grad_clip, world_size
        self.optimizer = self._fresh_optimizer()

    def _fresh_optimizer(self) -> torch.optim.Adam:
        return torch.optim.Adam(self.online.parameters(), lr=self.lr, fused=True)

    def reinitialize(self, seed: int) -> None:
        """New online networks and Adam; the target starts as their copy."""
        self.online.initialize(seed)
        self.target.load_state_dict(self.online.state_dict())
        self.optimizer = self._fresh_optimizer()

    def keep_previous(self) -> None:
        """The target becomes the previous epoch's networks."""
        self.previous.load_state_dict(self.target.state_dict())

    @torch.no_grad()
    def start_at(self, log_z: Tensor) -> None:
        """Set the output biases of online and target networks to `log_z` (2,)."""
        for networks in (self.online, self.target):
            networks.image.linear3.bias.copy_(log_z[:1])
            networks.text.linear3.bias.copy_(log_z[1:])

    def fit(self, image: Tensor, text: Tensor, log_target: Tensor, divergence: Divergence, steps: int) -> None:
        """`steps` Adam steps on Σ_modalities mean_i divergence(log λ_i, log_target_i), over the pairs of all ranks.

        `image`, `text` (b, d) and `log_target` (2, b) are this rank's, without gradients.
        """
        parameters = list(self.online.parameters())
        log_target = log_target.to(parameters[0].dtype)
        for _ in range(steps):
            self.optimizer.zero_grad()
            with torch.enable_grad():
                for rows in _chunks(len(image)):
                    estimate = self.online(image[rows], text[rows])  # (2, rows)
                    # the chunks' gradients add up to that of the mean over all b pairs
                    (divergence(estimate, log_target[:, rows]).sum() / len(image)).backward()
            average_gradients(parameters, self.world_size)
            if self.grad_clip is not None:  # the release clips the networks, too
                nn.utils.clip_grad_norm_(parameters, self.grad_clip, foreach=True)
            self.optimizer.step()
        self.optimizer.zero_grad()

    @staticmethod
    @torch.no_grad()
    def estimate(networks: NetworkPair, image: Tensor, text: Tensor) -> Tensor:
        """log λ (2, b) of `networks` for features (b, d), without gradient, in the features' type."""
        parts = [networks(image[rows], text[rows]) for rows in _chunks(len(image))]
        return torch.cat(parts, dim=1).to(image.dtype)

    @torch.no_grad()
    def update_target(self, alpha: float) -> None:
        """target ← α·target + (1-α)·online (Algorithm 1). Layer norms have no buffers to average."""
        target, online = list[Tensor](self.target.parameters()), list[Tensor](self.online.parameters())
        torch._foreach_lerp_(target, online, 1.0 - alpha)

    def get_extra_state(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.optimizer = self._fresh_optimizer()
        self.optimizer.load_state_dict(state)


def _uninitialized(inputs: int, outputs: int) -> nn.Linear:
    """nn.Linear's own initialization would draw from the global generator, on which the encoders depend."""
    return nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")


def _chunks(pairs: int) -> list[slice]:
    """Slices of at most CHUNK of `pairs` rows."""
    return [slice(start, start + CHUNK) for start in range(0, pairs, CHUNK)]
