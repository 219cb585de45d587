"""One rank of `test_objectives.py`: runs every case for some steps; saves gradients, state and exchanges."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from amorlip.objectives import pairs, per_sample, registry
from amorlip.objectives.base import Context
from tests.helpers import objectives_reference as reference

BATCH, STEPS_PER_EPOCH, STEPS = 24, 2, 4
CASES = {
    "clip": ("clip", {}),
    "dcl": ("dcl", {}),
    "dcl_rho": ("dcl_rho", {"positive_weight": 1e-3}),
    "siglip": ("siglip", {}),
    "sogclr": ("sogclr", {"gamma": 0.3}),
    "fastclip": ("fastclip", {"gamma_horizon_epochs": 2}),
    "neuclip": ("neuclip", {"prototypes": 30, "reseed_steps": 3, "t_u": 2}),
    "l2log": ("amorlip_l2log", {"beta_horizon_epochs": 2}),
    "l2log_blocks": ("amorlip_l2log", {"beta_horizon_epochs": 2}),
    "l2log_target": ("amorlip_l2log", {"beta_horizon_epochs": 2, "normalizer": "target", "t_online": 2}),
    "l2log_negatives": ("amorlip_l2log", {"beta_horizon_epochs": 2, "amortize": "negatives"}),
    "batch_mean": ("amorlip_l2log", {"beta_horizon_epochs": 2, "estimator": "batch_mean"}),
    "memory": ("amorlip_l2log", {"beta_horizon_epochs": 2, "estimator": "memory", "memory_pairs": 60}),
    "corpus": ("amorlip_l2log", {"beta_horizon_epochs": 2, "estimator": "corpus"}),
    "kl": ("amorlip_fdiv", {"beta_horizon_epochs": 2, "fdiv_reduction": "release"}),
    "js": ("amorlip_fdiv", {"beta_horizon_epochs": 2, "divergence": "js"}),
    "local": ("amorlip_l2log", {"negatives": "local", "t_online": 2, "beta_horizon_epochs": 2}),
    "local_target": ("amorlip_l2log", {"negatives": "local", "normalizer": "target", "t_online": 2}),
    "local_fit": (
        "amorlip_l2log",
        {"negatives": "local", "target_negatives": "local", "normalizer": "target", "t_online": 2},
    ),
}


def run(case: str, rank: int, world_size: int, calls: Counter) -> dict:
    """Gradients (scaled to those of the mean over ranks) and exchanges of each step, and the state at the end."""
    name, settings = CASES[case]
    pairs.BLOCK_ELEMENTS = 40 if case == "l2log_blocks" else 2**22
    context = reference.make_context(BATCH, steps_per_epoch=STEPS_PER_EPOCH, rank=rank, world_size=world_size)
    objective = registry.create(name, settings, context).double()
    part = slice(rank * BATCH // world_size, (rank + 1) * BATCH // world_size)
    steps = []
    for step in range(STEPS):
        if step % STEPS_PER_EPOCH == 0:
            objective.start_epoch(step // STEPS_PER_EPOCH)
        features = reference.make_features(BATCH, seed=step, bias=-10.0)
        order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(step)) + BATCH * (step % STEPS_PER_EPOCH)
        features.step, features.epoch, features.sample_ids = step, step // STEPS_PER_EPOCH, order[part]
        for side in ("image_features", "text_features"):
            setattr(features, side, getattr(features, side)[part].detach().requires_grad_())
        calls.clear()
        loss = objective(features).loss
        gradients = reference.gradients(loss, features)
        steps.append({"calls": sum(calls.values()), "gradients": [g / world_size for g in gradients]})
    state = objective.state_dict()
    for name in objective.per_sample if world_size > 1 else ():
        state[name] = whole(state[name], context)
    return {"steps": steps, "state": state}


def whole(part: torch.Tensor, context: Context) -> torch.Tensor:
    """State per sample of all ranks, as one rank has it."""
    parts = [torch.empty_like(part) for _ in range(context.world_size)]
    dist.all_gather(parts, part)
    return per_sample.own(parts, replace(context, rank=0, world_size=1))


def main(folder: Path, rank: int, world_size: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    calls = Counter()
    for name in ("all_reduce", "all_gather_single", "all_gather", "broadcast", "batch_isend_irecv"):
        setattr(dist, name, _counted(name, getattr(dist, name), calls))
    results = {case: run(case, rank, world_size, calls) for case in CASES}
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


def _counted(name, function, calls):
    def counted(*args, **kwargs):
        calls[name] += 1
        return function(*args, **kwargs)

    return counted
