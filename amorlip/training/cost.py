"""What a run's training costs: its peak memory and the time of a step."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import torch

from amorlip.common.resident import resident_mib
from amorlip.training.records import Record, StepRecord


def peak_memory_mib(device: torch.device) -> float:
    """The most that tensors took on the GPU so far; on the CPU, that the whole process took [MiB]."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resident_mib("VmHWM")


def median_step_ms(records: Iterable[Record], batch_size: int, first_step: int) -> float | None:
    """Median over the logging windows of the mean time of a step [ms], from `first_step` on; None without a window.

    The median leaves out compilation and pauses of the machine. Evaluation and checkpoints are not counted anyway.
    """
    speeds = [record.samples_per_s for record in records if isinstance(record, StepRecord) and record.step > first_step]
    return 1000 * batch_size / statistics.median(speeds) if speeds else None
