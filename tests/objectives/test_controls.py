"""AmorLIP with something else in place of its networks: the mean log Z, a memory of past features, the whole corpus."""

from __future__ import annotations

import math

import pytest
import torch

from amorlip.common.errors import AmorlipError
from amorlip.objectives import pairs, registry
from tests.helpers import objectives_reference as reference

BATCH = 24


def run(steps, ids=None, **settings):
    """`steps` steps; returns the objective, all features and the last loss. `ids`: step -> ids of its samples."""
    objective = registry.create("amorlip_l2log", settings, reference.make_context(samples=1000)).double()
    seen = []
    for step in range(steps):
        if step % 5 == 0:
            objective.start_epoch(step // 5)
        features = reference.make_features(seed=step)
        features.step, features.epoch, features.log = step, step // 5, True
        features.sample_ids = torch.arange(BATCH) + BATCH * step if ids is None else ids(step)
        loss = objective(features)
        seen.append(features)
    return objective, seen, loss


def expected_gradients(features, log_lambda, weight=1e-3):
    loss = reference.shared_loss(features, log_lambda, weight)
    loss = loss / features.logit_scale.detach() + 8.5 / features.logit_scale
    return reference.gradients(loss, features)


def log_z_of_memory(seen, kept, weight=1e-3):
    """log Z over the last `kept` pairs other than the pair itself, scaled to B - 1, plus the pair's own term."""
    now, past = seen[-1], {"image": [], "text": [], "ids": []}
    for features in seen:
        past["image"].append(features.image_features.detach())
        past["text"].append(features.text_features.detach())
        past["ids"].append(features.sample_ids)
    past = {name: torch.cat(parts)[-kept:] for name, parts in past.items()}
    sums = []
    for queries, keys in ((now.image_features, past["text"]), (now.text_features, past["image"])):
        for query, own in zip(queries.detach(), now.sample_ids, strict=True):
            others = keys[past["ids"] != own]
            sums.append((now.logit_scale.detach() * others @ query).exp().mean() * (BATCH - 1))
    own = weight * reference.logits(now).detach().diagonal().exp()
    return (torch.stack(sums).view(2, BATCH) + own).log()


def test_batch_mean_takes_the_place_of_the_previous_networks():
    _, seen, loss = run(6, estimator="batch_mean", beta_horizon_epochs=2)
    log_z = reference.log_partitions(seen[-1], 1e-3).detach()
    beta = 0.8 - 0.4 * (1 + math.cos(math.pi * 1 / 2))
    combined = (beta * log_z.mean(1, keepdim=True).exp() + (1 - beta) * log_z.exp()).log()
    found = reference.gradients(loss.loss, seen[-1])
    assert reference.error(found, expected_gradients(seen[-1], combined)) < 1e-9
    assert float(loss.diagnostics["log_z_unexplained"]) == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("kept", [60, 96, 1000])
@pytest.mark.parametrize("normalizer", ["combined", "target"])
def test_memory_estimates_z_over_the_last_pairs(kept, normalizer):
    _, seen, loss = run(7, estimator="memory", memory_pairs=kept, normalizer=normalizer, beta_horizon_epochs=2)
    log_lambda = log_z_of_memory(seen, kept)
    log_z = reference.log_partitions(seen[-1], 1e-3).detach()
    error = float((log_lambda - log_z).square().mean())
    assert float(loss.diagnostics["log_z_error"]) == pytest.approx(error, rel=1e-9)
    if normalizer == "combined":
        log_lambda = (0.4 * log_lambda.exp() + 0.6 * log_z.exp()).log()
    found = reference.gradients(loss.loss, seen[-1])
    assert reference.error(found, expected_gradients(seen[-1], log_lambda)) < 1e-9


def test_a_memory_of_this_batch_alone_gives_its_own_z():
    _, seen, loss = run(3, estimator="memory", memory_pairs=BATCH, normalizer="target")
    log_z = reference.log_partitions(seen[-1], 1e-3)
    assert reference.error(reference.gradients(loss.loss, seen[-1]), expected_gradients(seen[-1], log_z)) < 1e-9


def test_an_earlier_copy_of_the_pair_itself_does_not_count():
    settings = {"estimator": "memory", "memory_pairs": 100, "normalizer": "target"}
    _, seen, loss = run(4, lambda step: torch.arange(BATCH) + 12 * step, **settings)
    found = reference.gradients(loss.loss, seen[-1])
    assert reference.error(found, expected_gradients(seen[-1], log_z_of_memory(seen, 100))) < 1e-9


def test_memory_is_read_in_blocks(monkeypatch):
    settings = {"estimator": "memory", "memory_pairs": 100, "normalizer": "target"}
    whole = run(4, **settings)[2].loss
    monkeypatch.setattr(pairs, "BLOCK_ELEMENTS", 300)
    assert float(run(4, **settings)[2].loss.detach()) == pytest.approx(float(whole.detach()), rel=1e-12)


def test_without_networks_none_is_fitted():
    objective, _, _ = run(3, estimator="batch_mean")
    assert not objective.amortization.optimizer.state


def test_memory_holds_at_most_the_corpus():
    objective, _, _ = run(1, estimator="memory", memory_pairs=10**6)
    assert len(objective.memory.sample_ids) == 1000


def test_memory_must_hold_a_batch():
    with pytest.raises(AmorlipError, match="memory_pairs is 23; it must hold at least a batch .24."):
        run(1, estimator="memory", memory_pairs=23)


@pytest.mark.parametrize("normalizer", ["combined", "target"])
def test_corpus_estimates_z_over_all_pairs_with_the_newest_features_of_each(normalizer):
    """Ids have gaps, passes come between steps, and a step's own features replace those of the last pass."""
    settings = {"estimator": "corpus", "normalizer": normalizer, "beta_horizon_epochs": 2}
    objective = registry.create("amorlip_l2log", settings, reference.make_context(samples=1000)).double()
    assert objective.corpus_every_steps == 20
    ids = torch.arange(0, 192, 2)
    newest = {}
    for step in range(7):
        if step % 5 == 0:
            objective.start_epoch(step // 5)
        if step in (0, 4):
            for part in ids.split(BATCH):
                features = reference.make_features(seed=100 + step + int(part[0]))
                objective.take_corpus(features.image_features, features.text_features, part)
                _note(newest, features, part)
        features = reference.make_features(seed=step)
        features.step, features.epoch, features.log = step, step // 5, True
        features.sample_ids = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(step))[:BATCH]]
        _note(newest, features, features.sample_ids)
        loss = objective(features)
    log_lambda = _log_z_of_corpus(newest, features)
    log_z = reference.log_partitions(features, 1e-3).detach()
    error = float((log_lambda - log_z).square().mean())
    assert float(loss.diagnostics["log_z_error"]) == pytest.approx(error, rel=1e-6)  # the memory is float32
    if normalizer == "combined":
        log_lambda = (0.4 * log_lambda.exp() + 0.6 * log_z.exp()).log()
    found = reference.gradients(loss.loss, features)
    assert reference.error(found, expected_gradients(features, log_lambda)) < 1e-6


def _note(newest, features, ids):
    sides = features.image_features.detach(), features.text_features.detach()
    newest.update({int(sample): pair for sample, *pair in zip(ids, *sides, strict=True)})


def _log_z_of_corpus(newest, features):
    """log Z over all other pairs, scaled to B - 1, plus the pair's own term."""
    own = 1e-3 * reference.logits(features).detach().diagonal().exp()
    sums = torch.empty(2, BATCH, dtype=torch.float64)
    for row, sample in enumerate(features.sample_ids.tolist()):
        others = [pair for other, pair in newest.items() if other != sample]
        for side, query in enumerate((features.image_features[row], features.text_features[row])):
            keys = torch.stack([pair[1 - side] for pair in others])
            sums[side, row] = (features.logit_scale.detach() * keys @ query.detach()).exp().mean() * (BATCH - 1)
    return (sums + own).log()


def test_other_methods_need_no_features_of_the_corpus():
    for name, settings in [("clip", {}), ("amorlip_l2log", {}), ("amorlip_l2log", {"estimator": "memory"})]:
        assert registry.create(name, settings, reference.make_context(samples=1000)).corpus_every_steps is None
