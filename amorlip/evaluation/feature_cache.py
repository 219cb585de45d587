"""Features kept on disk for other tasks of the same model.

These are class embeddings (several sets share names and templates, and with 1,000 classes and 80 templates the texts
take longer than the images), and features of images that several tasks share.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from amorlip.common import files


@dataclass
class FeatureCache:
    """Features of one model; several processes may use a folder at once."""

    folder: Path
    identity: str
    """Everything that the model's features depend on: weights, architecture, transform, versions of packages, and the
    code of this package."""
    taken: int = field(default=0, init=False)
    """How often features were read instead of computed."""

    def get(
        self, key: Sequence[Any], precision: str, device: torch.device, compute: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        """Features (n, D): from the file for this model, key, precision and kind of device, or else from `compute`.

        The key is anything that fits into JSON. A file that cannot be read is computed and written again.
        """
        whole = [self.identity, precision, device.type, *key]
        path = self.folder / f"{hashlib.sha256(json.dumps(whole).encode()).hexdigest()}.safetensors"
        try:
            features = load_file(path)["features"].to(device)
            self.taken += 1
            return features
        except (OSError, SafetensorError, KeyError):
            features = compute()
        files.write_bytes(path, save({"features": features.cpu().contiguous()}))
        return features
