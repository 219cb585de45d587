"""The tokens of every caption, made once."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from amorlip.common.errors import AmorlipError


class TokenTable:
    """Tokens of `pairs` captions, made when first asked for and kept in memory that processes forked later share.

    Two bytes a token, of which the system provides only what was written. Two processes that make the same row write
    the same numbers.

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
        """Tokens (b, L), int64, of b rows. `caption` gives the text of a row, and is asked for new ones only."""
        if new := [row for row in rows if not self.known[row]]:
            tokens = self.tokenizer([caption(row) for row in new]).numpy()
            if tokens.max() > np.iinfo(np.uint16).max:
                raise AmorlipError(f"token {tokens.max()} does not fit in two bytes; use a smaller vocabulary")
            self.tokens[new] = tokens
            self.known[new] = True  # last: another process may look at any moment
        return torch.from_numpy(self.tokens[rows].astype(np.int64))


def _shared(count: int, dtype: type[np.generic]) -> np.ndarray:
    """`count` zeros in anonymous memory that forked processes share."""
    return np.frombuffer(mmap.mmap(-1, count * np.dtype(dtype).itemsize), dtype)
