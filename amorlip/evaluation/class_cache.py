"""Class embeddings kept on disk: several sets share their names and templates, and with a thousand classes and eighty
templates the texts take longer than the images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from amorlip.files import atomic_path


@dataclass(frozen=True)
class ClassCache:
    """Embeddings of one model's classes; several processes may use a folder at once."""

    folder: Path
    identity: str
    """What decides the model's text features: the digest of its weights and the name of its architecture."""

    def get(
        self,
        names: Sequence[str],
        templates: Sequence[str],
        precision: str,
        device: torch.device,
        compute: Callable[[], torch.Tensor],
    ) -> torch.Tensor:
        """The embeddings (C, D) that `compute` gave for the same model, names, templates, precision and kind of device,
        or else gives now. A file that cannot be read is made anew."""
        key = [self.identity, precision, device.type, list(names), list(templates)]
        path = self.folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.safetensors"
        try:
            return load_file(path)["embeddings"].to(device)
        except (OSError, SafetensorError):
            embeddings = compute()
        with atomic_path(path) as temporary:
            save_file({"embeddings": embeddings.cpu().contiguous()}, temporary)
        return embeddings
