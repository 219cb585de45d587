"""Attention, recomputed activations and compiled towers: faster, the same numbers."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from amorlip import models
from amorlip.training import loop, records, towers
from tests.helpers import tiny

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def inputs(model: nn.Module, pairs: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    side = model.visual.preprocess_cfg["size"]
    images = torch.randn(pairs, 3, *(side if isinstance(side, tuple) else (side, side)), generator=generator)
    return images, torch.randint(1, 49408, (pairs, model.context_length), generator=generator)


def gradients(model: nn.Module, *, image=None, text=None) -> dict[str, torch.Tensor]:
    """Of an arbitrary function of both towers' features."""
    images, tokens = inputs(model)
    image, text = image or model.encode_image, text or model.encode_text
    (image(images) @ text(tokens).T).square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], tolerance: float) -> None:
    """Each by its own norm, or a hundredth of the largest: keys' biases have no gradient but rounding."""
    assert ours.keys() == theirs.keys()
    largest = max(value.norm() for value in theirs.values())
    for name, value in theirs.items():
        assert (ours[name] - value).norm() <= tolerance * max(value.norm(), 0.01 * largest), name


def test_the_defaults_are_for_gpus():
    assert towers.autocast_dtype("bfloat16", GPU) == torch.bfloat16
    assert towers.autocast_dtype("float32", GPU) is None and towers.autocast_dtype("bfloat16", CPU) is None
    choices = {choice: (towers.wants_compilation(choice, CPU), towers.wants_compilation(choice, GPU))
               for choice in ("auto", "always", "never")}  # fmt: skip
    assert choices == {"auto": (False, True), "always": (True, True), "never": (False, False)}


# ---------------------------------------------------------------- attention


@pytest.fixture
def attentions(monkeypatch) -> list[tuple[bool, bool]]:
    """For each call of attention: whether it got a mask, and whether it got `is_causal`."""
    calls, attend = [], nn.functional.scaled_dot_product_attention

    def spy(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, **others):
        calls.append((attn_mask is not None, is_causal))
        return attend(q, k, v, attn_mask, dropout_p, is_causal, **others)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", spy)
    return calls


@pytest.mark.parametrize("name", ["tiny_transformer", "tiny"])
def test_marked_attention_reads_no_mask_and_gives_the_same(name, attentions):
    model = models.create(name, seed=0)
    plain = copy.deepcopy(model)
    towers.mark_causal_attention(model)
    theirs, before = gradients(plain), list(attentions)
    attentions.clear()
    ours = gradients(model)
    assert before == [(False, False), (True, False)] and attentions == [(False, False), (False, True)]
    assert_close(ours, theirs, 1e-5)


def test_a_text_tower_of_its_own_is_marked_too(attentions):
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32}
    text = {"context_length": 12, "vocab_size": 64, "width": 32, "heads": 2, "layers": 2}
    model = open_clip.model.CustomTextCLIP(24, vision, text)
    towers.mark_causal_attention(model)
    model.encode_text(torch.randint(1, 64, (3, 12)))
    assert attentions == [(False, True)] * 2


def test_other_masks_are_left_alone(attentions):
    model = models.create("tiny_transformer", seed=0)
    model.attn_mask[0, 1] = 0.0  # the first word may look at the second
    towers.mark_causal_attention(model)
    model.encode_text(inputs(model)[1])
    assert attentions == [(True, False)]


def test_evaluation_is_not_marked():
    model = models.create("tiny_transformer", seed=0)
    plain = copy.deepcopy(model).eval()
    towers.mark_causal_attention(model)
    model.eval()
    with torch.no_grad():
        assert torch.equal(model.encode_text(inputs(model)[1]), plain.encode_text(inputs(model)[1]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the flash kernel is for GPUs")
@pytest.mark.parametrize("name", ["tiny_transformer", "tiny"])
def test_the_flash_kernel_takes_every_attention(name):
    model = models.create(name, seed=0).cuda()
    towers.mark_causal_attention(model)
    images, tokens = (tensor.cuda() for tensor in inputs(model))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), torch.autocast("cuda", torch.bfloat16):
        loss = model.encode_image(images).sum() + model.encode_text(tokens).sum()
    loss.backward()
    assert all(torch.isfinite(one.grad).all() for one in model.parameters() if one.grad is not None)


# ---------------------------------------------------------------- activations


@pytest.mark.parametrize("name", ["tiny_transformer", "tiny"])
def test_recomputed_activations_give_the_same_gradient_bit_by_bit(name):
    model = models.create(name, seed=0)
    plain = copy.deepcopy(model)
    towers.recompute_activations(model)
    blocks = [m for m in model.modules() if isinstance(m, open_clip.modified_resnet.Bottleneck)]
    assert model.transformer.grad_checkpointing and bool(blocks) == (name == "tiny")
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        theirs, whole = gradients(plain), sum(kept)
        kept.clear()
        ours = gradients(model)
    assert_close(ours, theirs, 0.0)
    assert sum(kept) < whole
    assert list(model.state_dict()) == list(plain.state_dict())
    for (buffer, ours), theirs in zip(model.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(ours, theirs), buffer  # running statistics moved once


def test_frozen_statistics_come_back():
    norm = nn.BatchNorm1d(3)
    x = torch.randn(10, 3)
    with towers.frozen_running_statistics(norm), towers.frozen_running_statistics(norm):
        frozen = norm(x)
        assert torch.equal(norm.running_mean, torch.zeros(3)) and torch.equal(norm.running_var, torch.ones(3))
    assert norm.num_batches_tracked == 0
    torch.testing.assert_close(frozen, norm(x))
    assert not torch.equal(norm.running_mean, torch.zeros(3)) and norm.num_batches_tracked == 1


# ---------------------------------------------------------------- compilation


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """One cache for all tests of this file."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def cache(shared, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    towers.compile_into(shared)
    yield shared
    torch.compiler.reset()


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("amorlip")]


WHERE = """
import sys
from pathlib import Path
from amorlip.training import loop, towers
towers.compile_into(Path(sys.argv[1]))
from torch._inductor.runtime.cache_dir_utils import cache_dir
print(cache_dir())
from torch._inductor import codecache
print(codecache._HEADER_DIR)
print(codecache._HEADER_LOCK_DIR)
"""


@pytest.mark.parametrize("chosen", [None, "mine"])
def test_compiled_code_lies_with_the_run_or_where_the_user_says(tmp_path, chosen, monkeypatch):
    """In a new process, where importing PyTorch's parts has put its own place into the environment."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    if chosen:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / chosen))
    command = [sys.executable, "-c", WHERE, str(tmp_path / "run")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    cache = str(tmp_path / (chosen or "run"))
    # By PyTorch's default precompiled headers lie in a folder of /tmp that others can guess.
    assert found == [cache, f"{cache}/precompiled_headers", f"{cache}/precompiled_headers/locks"]


def test_what_cannot_be_compiled_runs_uncompiled_with_a_warning(cache, caplog):
    """Here for lack of a C++ compiler, which is found out after the graph was captured."""
    model = models.create("tiny_transformer", seed=0)
    plain = copy.deepcopy(model)
    compiled = towers.Compiled(model.encode_image)
    no_compiler = torch._inductor.config.patch({"cpp.cxx": ("/nowhere/c++",)})
    with no_compiler, caplog.at_level(logging.WARNING, "amorlip"):
        ours = gradients(model, image=compiled)
        compiled(inputs(model)[0])
    said = warnings(caplog)
    assert len(said) == 1 and said[0].startswith("encode_image could not be compiled and runs uncompiled: ")
    assert "\n" not in said[0]
    assert_close(ours, gradients(plain), 0.0)


# a loaded machine takes minutes
@pytest.mark.timeout(900)
@pytest.mark.slow
@pytest.mark.parametrize(("name", "recompute"), [("tiny_transformer", False), ("tiny", False), ("tiny", True)])
def test_compiled_towers_give_the_same(name, recompute, cache, caplog):
    model = models.create(name, seed=0)
    plain = copy.deepcopy(model)
    if recompute:
        towers.recompute_activations(model)
    towers.mark_causal_attention(model)
    with caplog.at_level(logging.WARNING, "amorlip"):
        ours = gradients(model, image=towers.Compiled(model.encode_image), text=towers.Compiled(model.encode_text))
    assert not warnings(caplog)
    assert_close(ours, gradients(plain), 1e-3)
    assert list(model.state_dict()) == list(plain.state_dict())
    for (buffer, ours), theirs in zip(model.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=buffer)
    assert any(cache.rglob("*.so"))


LOSS_TOLERANCE = 0.02
"""Largest distance of a logged loss between float32 and bfloat16 with compiled towers, as a fraction of the loss."""


@pytest.mark.timeout(900)
@pytest.mark.slow
@pytest.mark.parametrize("objective", ["clip", "amorlip_l2log"])
def test_bfloat16_and_compiled_towers_train_as_float32(objective, corpus, tmp_path, monkeypatch, cache):
    """Whole runs. On a CPU training is in float32; here it is made to do what it does on a GPU."""
    settings = {"t_lambda": 1} if objective.startswith("amorlip") else {}

    def losses(folder: str, **recipe) -> list[float]:
        run = tiny.make_run(objective, settings, model="tiny_transformer", log_every_steps=1, **recipe)
        loop.train(run, corpus, tmp_path / folder, {})
        return [r.loss for r in records.read(tmp_path / folder / "metrics.jsonl") if isinstance(r, records.StepRecord)]

    exact = losses("exact", precision="float32")
    asked = []
    monkeypatch.setattr(towers, "autocast_dtype", lambda precision, device: asked.append(precision) or torch.bfloat16)
    monkeypatch.setattr(towers, "skips_padding", lambda device: objective == "clip")
    fast = losses("fast", precision="bfloat16", compile="always")
    assert asked == ["bfloat16"] and any(cache.rglob("*.so"))
    assert "could not be compiled" not in (tmp_path / "fast" / "train.log").read_text()
    assert fast != exact
    assert fast == pytest.approx(exact, rel=LOSS_TOLERANCE)
