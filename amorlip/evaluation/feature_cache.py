"""Features kept on disk for further tasks of the same model: class embeddings, since several sets share their names and
templates and with a thousand classes and eighty templates the texts take longer than the images; and features of
images that several tasks ask about."""

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
    """What decides the model's features: the digest of its weights, the names of its architecture and transform, and
    the versions of the code."""
    taken: int = field(default=0, init=False)
    """How often features were there."""

    def get(
        self, key: Sequence[Any], precision: str, device: torch.device, compute: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        """The features (n, D) that `compute` gave for the same model, key, precision and kind of device, or gives now.

        A key is anything that JSON holds. A file that cannot be read is made anew.
        """
        whole = [self.identity, precision, device.type, *key]
        path = self.folder / f"{hashlib.sha256(json.dumps(whole).encode()).hexdigest()}.safetensors"
        try:
            features = load_file(path)["features"].to(device)
            self.taken += 1
            return features
        except (OSError, SafetensorError):
            features = compute()
        files.write_bytes(path, save({"features": features.cpu().contiguous()}))
        return features
