"""A corpus of a few dozen pairs in the layout of the stage `shards`, and runs that train on it in a second.

As a script it trains: `tiny.py RUN SHARDS OUTPUT`, RUN being JSON.
"""

from __future__ import annotations

import hashlib
import io
import json
import signal
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import torch
from PIL import Image

from amorlip import models
from amorlip.config.run import Run
from amorlip.training import loop

WORDS = ["heart", "sun", "moon", "cat", "dog", "tree", "house", "fish", "boat", "star", "key", "bell"]
PAIRS = 44

torch.set_num_threads(1)
open_clip.add_model_config(Path(__file__).parent / "architectures")


def write_corpus(folder: Path, pairs: int = PAIRS) -> Path:
    """`pairs` pictures of noise around a color of their own, two shards, with manifest and index."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows, shards = [], []
    for number, ids in enumerate(np.array_split(np.arange(pairs), 2)):
        path = folder / f"{number:05d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for sample in ids:
                color = rng.integers(0, 256, 3)
                pixels = np.clip(color + rng.normal(0, 20, (40, 40, 3)), 0, 255).astype(np.uint8)
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "png")
                caption = f"{WORDS[sample % len(WORDS)]} number {sample}".encode()
                ranges = [_add(tar, f"{sample:05d}.png", buffer.getvalue()), _add(tar, f"{sample:05d}.txt", caption)]
                rows.append((sample, number, *ranges[0], *ranges[1]))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append({"name": path.name, "samples": len(ids), "bytes": path.stat().st_size, "sha256": digest})
    columns = ["sample_id", "shard", "image_offset", "image_bytes", "caption_offset", "caption_bytes"]
    types = dict(zip(columns, ["int64", "int32", "int64", "int32", "int64", "int32"], strict=True))
    pd.DataFrame(rows, columns=columns).astype(types).to_parquet(folder / "index.parquet")
    manifest = {
        "corpus": "tiny", "split": "train", "requested": pairs, "downloaded": pairs, "failed": {}, "yield": 1.0,
        "samples": pairs, "refused": {}, "max_sample_id": pairs - 1, "digest": f"{pairs:064d}", "shards": shards,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def make_run(objective: str = "clip", settings: dict[str, Any] | None = None, seed: int = 0, **recipe: Any) -> Run:
    """A run of 3 epochs of 5 steps of 8 pairs; `recipe` changes its recipe, nested as there."""
    base = {
        "corpus": "tiny",
        "model": "tiny",
        "batch_size": 8,
        "epochs": 3,
        "optimizer": {"lr": 1e-3, "grad_clip": 1.0},
        "schedule": {"warmup_steps": 3},
        "loader": {"workers": 0},
        "log_every_steps": 4,
        "checkpoint_every_steps": 7,
    }
    return Run(
        scale="tiny",
        method=objective,
        seed=seed,
        objective=objective,
        settings=settings or {},
        recipe={**base, **recipe},
    )


def start_of(model: str) -> dict[str, torch.Tensor]:
    """The weights with which runs of seed 0 begin."""
    return models.create(model, seed=0).state_dict()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> tuple[int, int]:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    offset = tar.offset + tarfile.BLOCKSIZE
    tar.addfile(member, io.BytesIO(data))
    return offset, len(data)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
    loop.train(Run(**json.loads(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]), {})
