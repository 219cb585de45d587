"""The tokens of every caption, computed once."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from amorlip.common.errors import AmorlipError


class TokenTable:
    """Tokens of `pairs` captions, computed on first use and kept in memory that forked processes share.

    A token takes two bytes, and only rows that were written take memory. No lock is needed: two processes that compute
    the same row write the same numbers.

    Args:
        pairs: number of captions.
        tokenizer: list of b captions → (b, L) integers below 65536; L is always the same.
    """

    def __init__(self, pairs: int, tokenizer: Callable[[list[str]], Tensor]) -> None:
        self.tokenizer = tokenizer
        shape = tokenizer([""]).shape[1:]
        self.tokens = _shared(pairs * math.prod(shape), np.uint16).reshape(pairs, *shape)
        self.known = _shared(pairs, np.bool_)

    def get(self, rows: Sequence[int], caption: Callable[[int], str]) -> Tensor:
        """Tokens (b, L), int64, of b rows. `caption` gives the text of a row; it is called for new rows only."""
        if new := [row for row in rows if not self.known[row]]:
            tokens = self.tokenizer([caption(row) for row in new]).numpy()
            if tokens.max() > np.iinfo(np.uint16).max:
                raise AmorlipError(f"token {tokens.max()} does not fit in two bytes; use a smaller vocabulary")
            self.tokens[new] = tokens
            self.known[new] = True  # last, since another process may read at any moment
        return torch.from_numpy(self.tokens[rows].astype(np.int64))


def _shared(count: int, dtype: type[np.generic]) -> np.ndarray:
    """`count` zeros in anonymous memory that forked processes share."""
    return np.frombuffer(mmap.mmap(-1, count * np.dtype(dtype).itemsize), dtype)
