"""The tokens of every caption, computed once."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from amorlip.common.errors import AmorlipError

MOST_BYTES = 8 * 2**30
"""Of a table. Of 77 tokens a caption, those of 55 million captions."""


class TokenTable:
    """Tokens of `pairs` captions, computed on first use and kept in memory that forked processes share.

    A token takes two bytes, and only rows that were written take memory. No lock is needed: two processes that compute
    the same row write the same numbers. Rows beyond MOST_BYTES are not kept, but computed whenever they are wanted.

    Args:
        pairs: number of captions.
        tokenizer: list of b captions → (b, L) integers below 65536; L is always the same.
    """

    def __init__(self, pairs: int, tokenizer: Callable[[list[str]], Tensor]) -> None:
        self.tokenizer = tokenizer
        shape = tokenizer([""]).shape[1:]
        self.row_size = math.prod(shape)
        self.kept = min(pairs, MOST_BYTES // (self.row_size * np.dtype(np.uint16).itemsize))
        self.tokens = _shared(self.kept * self.row_size, np.uint16).reshape(self.kept, *shape)
        self.known = _shared(self.kept, np.bool_)

    def are_known(self, rows: np.ndarray) -> np.ndarray:
        """Of which rows the tokens need not be computed."""
        return (rows < self.kept) & self.known[np.minimum(rows, self.kept - 1)]

    def get(self, rows: Sequence[int] | np.ndarray, caption: Callable[[int], str]) -> Tensor:
        """Tokens (b, L), int64, of b rows. `caption` gives the text of a row; it is called for new rows only."""
        rows = np.asarray(rows)
        known = self.are_known(rows)
        tokens = self.tokens[np.where(known, rows, 0)]
        if len(new := rows[~known]):
            tokens[~known] = self._compute(new, caption)
        return torch.from_numpy(tokens.astype(np.int64))

    def _compute(self, rows: np.ndarray, caption: Callable[[int], str]) -> np.ndarray:
        tokens = self.tokenizer([caption(int(row)) for row in rows]).numpy()
        if tokens.max() > np.iinfo(np.uint16).max:
            raise AmorlipError(f"token {tokens.max()} does not fit in two bytes; use a smaller vocabulary")
        to_keep = rows < self.kept
        self.tokens[rows[to_keep]] = tokens[to_keep]
        self.known[rows[to_keep]] = True  # last, since another process may read at any moment
        return tokens


def _shared(count: int, dtype: type[np.generic]) -> np.ndarray:
    """`count` zeros in anonymous memory that forked processes share."""
    return np.frombuffer(mmap.mmap(-1, count * np.dtype(dtype).itemsize), dtype)
