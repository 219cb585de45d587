"""Texts without their padding.

Under a causal mask no position sees those after it, and CLIP's feature of a text is that of its end token. So what
comes after the end token is padding, which need not be computed. Most of a context of 77 positions is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from open_clip import CLIP
from torch import Tensor, nn
from torch.func import functional_call

from amorlip.training.towers import is_causal, text_tower
from amorlip.training.transfer import TextEnds

LENGTHS = (8, 16, 24, 32, 48)
"""Positions that are computed, besides the whole context: few, since each is compiled by itself."""

SMALLEST_PART = 256
"""Texts in a part: with fewer, a GPU's kernels become too small."""

MOST_PARTS = 8

TextEncoder = Callable[[Tensor], Tensor]
"""Tokens (b, L) → features (b, d)."""


def end_positions(model: nn.Module) -> TextEnds | None:
    """A function of tokens (b, L) on the CPU: the number of positions up to each text's end token, (b,) int64.

    None for a tower whose features may depend on what comes after the end token.
    """
    tower: Any = text_tower(model)
    pool = getattr(tower, "text_pool_type" if tower is model else "pool_type", None)
    if not is_causal(getattr(tower, "attn_mask", None)) or getattr(tower, "cls_emb", None) is not None:
        return None
    if getattr(tower, "use_pad_mask", False) or pool not in ("argmax", "eos"):
        return None
    # as OpenCLIP's pooling has it: the largest token is the end token, or the model says which one is
    if pool == "argmax":
        return lambda tokens: tokens.argmax(dim=1).numpy() + 1
    end = cast(int, tower.text_eos_id if tower is model else tower.eos_id)
    return lambda tokens: torch.eq(tokens, end).int().argmax(dim=1).numpy() + 1


class ShortTexts:
    """A model's text encoder for tokens of fewer positions than its context."""

    def __init__(self, model: CLIP) -> None:
        self.module = _TextEncoder(model)
        tower: Any = text_tower(model)
        prefix = "model" if tower is model else "model.text"
        self.positions, self.mask = f"{prefix}.positional_embedding", f"{prefix}.attn_mask"
        self.tower = tower

    def encode_short_texts(self, tokens: Tensor) -> Tensor:
        """Tokens (b, L'), L' ≤ L → features (b, d)."""
        length = tokens.shape[1]
        # OpenCLIP's towers add their whole mask and, one of them, all positions; here they get the first ones
        first = {
            self.positions: self.tower.positional_embedding[:length],
            self.mask: self.tower.attn_mask[:length, :length],
        }
        return functional_call(self.module, first, (tokens,))


class _TextEncoder(nn.Module):
    def __init__(self, model: CLIP) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model.encode_text(tokens)


def encode_in_parts(encode: TextEncoder, tokens: Tensor, ends: np.ndarray) -> Tensor:
    """Features (b, d) of texts with `tokens` (b, L), as `encode` gives them, in the order of `tokens`.

    The texts are sorted by `ends` (b,), and each part of them is computed up to its longest text's end. There is no
    synchronization with a GPU: `ends` is on the host.
    """
    order = np.argsort(ends, kind="stable")
    rows = len(order) // _parts(len(order))
    sorted_tokens = tokens.index_select(0, _on(tokens.device, order))
    lengths = part_lengths(ends, tokens.shape[1])
    parts = zip(sorted_tokens.split(rows), lengths, strict=True)
    features = torch.cat([encode(part[:, :length].contiguous()) for part, length in parts])
    return features.index_select(0, _on(tokens.device, np.argsort(order)))


def part_lengths(ends: np.ndarray, context: int) -> list[int]:
    """The positions computed for each part of the texts, from the shortest texts to the longest."""
    longest = np.sort(ends).reshape(_parts(len(ends)), -1)[:, -1]
    return [next((length for length in LENGTHS if end <= length < context), context) for end in longest]


def _parts(texts: int) -> int:
    """Equal parts: each number of rows is compiled by itself, too."""
    fitting = (parts for parts in range(MOST_PARTS, 1, -1) if texts % parts == 0 and texts // parts >= SMALLEST_PART)
    return next(fitting, 1)


def _on(device: torch.device, indices: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(indices)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
