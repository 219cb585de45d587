"""The methods as plain float64 formulas under autograd, written from the papers and not from the package."""

from __future__ import annotations

import math

import torch

from amorlip.objectives.base import Context, Features


def make_features(batch=24, width=16, tau=14.3, dtype=torch.float64, seed=0, spread=1.0, bias=None) -> Features:
    """Random pairs; a small `spread` makes all similarities large."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(1, width, generator=generator, dtype=torch.float64)
    vectors = common + spread * torch.randn(2 * batch, width, generator=generator, dtype=torch.float64)
    vectors[batch:] = 0.6 * vectors[batch:] + 0.4 * vectors[:batch]
    unit = (vectors / vectors.norm(dim=1, keepdim=True)).to(dtype)
    return Features(
        image_features=unit[:batch].clone().requires_grad_(),
        text_features=unit[batch:].clone().requires_grad_(),
        logit_scale=torch.tensor(tau, dtype=dtype, requires_grad=True),
        logit_bias=None if bias is None else torch.tensor(bias, dtype=dtype, requires_grad=True),
        sample_ids=torch.arange(batch),
        step=0,
        epoch=0,
    )


def make_context(batch=24, width=16, **changes) -> Context:
    defaults = {"embed_dim": width, "samples": 100, "batch_size": batch, "epochs": 4, "steps_per_epoch": 5, "seed": 3}
    return Context(**(defaults | changes))


def leaves(features: Features) -> list[torch.Tensor]:
    names = ("image_features", "text_features", "logit_scale", "logit_bias")
    return [getattr(features, name) for name in names if getattr(features, name) is not None]


def gradients(loss: torch.Tensor, features: Features) -> list[torch.Tensor]:
    """Gradients in the features, the logit scale and, where there is one, the bias."""
    found = torch.autograd.grad(loss, leaves(features), allow_unused=True, retain_graph=True)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves(features), strict=True)]


def float64_copy(features: Features) -> Features:
    """The same numbers in float64, as new leaves."""
    changes = {
        name: None if value is None else value.detach().double().requires_grad_()
        for name in ("image_features", "text_features", "logit_scale", "logit_bias")
        for value in [getattr(features, name)]
    }
    return Features(**(vars(features) | changes))


def error(actual: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """Largest norm-relative deviation of the gradients."""
    return max(
        float((a.double() - e.double()).norm() / e.double().norm().clamp_min(1e-300))
        for a, e in zip(actual, expected, strict=True)
    )


def logits(features: Features) -> torch.Tensor:
    return features.logit_scale * features.image_features @ features.text_features.T


def weighted(features: Features, positive_weight: float) -> torch.Tensor:
    """τ s_ij + log w_ij."""
    values = logits(features)
    log_weight = math.log(positive_weight) if positive_weight > 0 else -math.inf
    return torch.where(torch.eye(len(values), dtype=torch.bool), values + log_weight, values)


def log_partitions(features: Features, positive_weight=1.0) -> torch.Tensor:
    values = weighted(features, positive_weight)
    return torch.stack([values.logsumexp(1), values.logsumexp(0)])


def infonce(features: Features) -> torch.Tensor:
    values, labels = logits(features), torch.arange(len(features.image_features))
    cross_entropy = torch.nn.functional.cross_entropy
    return 0.5 * (cross_entropy(values, labels) + cross_entropy(values.T, labels))


def shared_loss(features: Features, log_lambda: torch.Tensor, positive_weight=1.0, coefficients=2.0) -> torch.Tensor:
    """L(x, y; λ), with λ and c constant."""
    values, log_lambda = weighted(features, positive_weight), log_lambda.detach()
    negative = (values - log_lambda[0][:, None]).exp().sum(1).mean() + (values - log_lambda[1]).exp().sum(0).mean()
    return negative - (coefficients * logits(features).diagonal()).mean()
