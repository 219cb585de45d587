"""The device of this process, and the precision of its float32 arithmetic."""

from __future__ import annotations

import subprocess
from pathlib import Path

import torch

from amorlip.common import gpus
from amorlip.common.errors import AmorlipError

DRIVER = Path("/sys/module/nvidia/version")


def best() -> torch.device:
    """A GPU, or the CPU where there is none.

    Raises AmorlipError if this process should have a GPU that PyTorch cannot use: a run on the CPU instead would take
    the job's whole time for a few steps.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if reason := gpus.expected():
        raise AmorlipError(
            f"{reason}, but PyTorch {torch.__version__} cannot use a GPU: it is built for"
            f" {f'CUDA {torch.version.cuda}' if torch.version.cuda else 'CPUs only'}, and the driver is {_driver()};"
            " install a newer driver or a PyTorch for this one, or set `device: cpu` to use the CPU"
        )
    return torch.device("cpu")


def _driver() -> str:
    """The version of NVIDIA's driver, and the newest CUDA that it runs."""
    version = DRIVER.read_text(encoding="utf-8").strip() if DRIVER.exists() else _asked()
    return f"{version}, for CUDA {newest}" if version and (newest := _newest_cuda()) else version or "not loaded"


def _asked() -> str:
    """The version that nvidia-smi tells; empty if it tells none."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip().partition("\n")[0] if done.returncode == 0 else ""


def _newest_cuda() -> str:
    ask = getattr(torch._C, "_cuda_getDriverVersion", None)  # PyTorch for CPUs has none
    number = ask() if ask else 0
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""


def set_float32_precision(precision: str) -> None:
    """How a GPU multiplies float32 matrices and convolves float32 images, given the towers' `precision`.

    `float32` means float32; PyTorch's own default convolves in TF32 all the same. Otherwise TF32, which moves a
    gradient by less than 1e-3 even at τ = 100; bfloat16, as under `medium`, would move it by up to a quarter.
    """
    exact = precision == "float32"
    torch.set_float32_matmul_precision("highest" if exact else "high")
    torch.backends.cudnn.allow_tf32 = not exact
