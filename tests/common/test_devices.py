"""Which device a process gets, and how exact its float32 is."""

from __future__ import annotations

import json

import pytest
import torch

from amorlip import cli
from amorlip.common import devices, gpus
from amorlip.common.errors import AmorlipError
from amorlip.training import distributed
from tests.helpers import programs, tiny


@pytest.fixture
def unusable(tmp_path, monkeypatch) -> None:
    """The job was given a GPU, whose driver is older than PyTorch needs."""
    monkeypatch.setenv(gpus.VISIBLE, "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 12040, raising=False)
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "none")
    programs.install(tmp_path / "bin", monkeypatch, nvidia_smi="echo 550.54.15")


REFUSAL = (
    "CUDA_VISIBLE_DEVICES is 0, but PyTorch .* CUDA 13.0, and the driver is 550.54.15, for CUDA 12.4; .*device: cpu"
)


def test_a_gpu_that_cannot_be_used_is_refused_with_both_versions(unusable, monkeypatch):
    with pytest.raises(AmorlipError, match=REFUSAL):
        devices.best()
    monkeypatch.setenv(gpus.VISIBLE, "")
    assert devices.best() == torch.device("cpu")


def train(output, shards, *options: str, **recipe) -> None:
    settings = json.dumps({"run": tiny.make_run(epochs=1, **recipe).model_dump()})
    cli.main(["train", "--settings", settings, "--shards", str(shards), "--output", str(output), *options])


def test_training_and_evaluation_refuse_it_unless_the_cpu_is_asked_for(unusable, tmp_path, monkeypatch, capsys):
    shards = tiny.write_corpus(tmp_path / "train")
    with pytest.raises(SystemExit):
        train(tmp_path / "run", shards)
    assert "amorlip train: CUDA_VISIBLE_DEVICES is 0, but" in capsys.readouterr().err
    train(tmp_path / "run", shards, device="cpu")
    assert (tmp_path / "run" / "model.safetensors").exists()
    monkeypatch.setenv(gpus.VISIBLE, "0")
    train(tmp_path / "option", shards, "--device", "cpu")

    from amorlip.evaluation import evaluate_model as evaluating

    monkeypatch.setenv(gpus.VISIBLE, "0")
    evaluator = evaluating.Evaluator(
        evaluating.trained_run(tmp_path / "run"), evaluating.EvaluationSettings(), 0, tmp_path / "features"
    )
    with pytest.raises(AmorlipError, match=REFUSAL):
        _ = evaluator.encoder


def test_float32_on_a_gpu_is_float32(monkeypatch):
    """And otherwise TF32, in products and convolutions alike; never bfloat16."""
    monkeypatch.setattr(torch.cuda, "set_device", lambda _device: None)
    found = {}
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.get_num_threads()
    try:
        for precision in ("float32", "bfloat16", "float16"):
            distributed._set_up(torch.device("cuda", 0), 1, precision)
            found[precision] = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        distributed._set_up(torch.device("cpu"), 1, "bfloat16")
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = before[1], False
        torch.set_num_threads(before[2])
    assert found == {"float32": ("highest", False), "bfloat16": ("high", True), "float16": ("high", True)}
