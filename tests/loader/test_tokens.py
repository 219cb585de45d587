"""Each caption is tokenized once."""

from __future__ import annotations

import multiprocessing

import pytest
import torch

from amorlip import models
from amorlip.common.errors import AmorlipError
from amorlip.loader import tokens
from amorlip.loader.tokens import TokenTable

TEXTS = ["a red heart", "smiling face", "", "house, with a garden " * 9, "été 😀"]


def test_tokens_are_the_tokenizers_and_made_once():
    tokenizer, asked = models.tokenizer("demo"), []

    def caption(row: int) -> str:
        asked.append(row)
        return TEXTS[row]

    table = TokenTable(len(TEXTS), tokenizer)
    for rows in ([3, 0], [0, 1, 3], [4, 2, 1, 0], [0, 1, 2, 3, 4]):
        found = table.get(rows, caption)
        assert found.dtype == torch.int64 and torch.equal(found, tokenizer([TEXTS[row] for row in rows]))
    assert asked == [3, 0, 1, 4, 2]


def test_what_is_beyond_the_tables_size_is_computed_again(monkeypatch):
    monkeypatch.setattr(tokens, "MOST_BYTES", 2 * 2 * 16 + 1)
    tokenizer, asked = models.tokenizer("demo"), []

    def caption(row: int) -> str:
        asked.append(row)
        return TEXTS[row]

    table = TokenTable(len(TEXTS), tokenizer)
    for rows in ([3, 0, 1], [0, 1, 3]):
        assert torch.equal(table.get(rows, caption), tokenizer([TEXTS[row] for row in rows]))
    assert asked == [3, 0, 1, 3] and table.kept == 2


def test_forked_processes_share_them():
    table = TokenTable(len(TEXTS), models.tokenizer("demo"))
    process = multiprocessing.get_context("fork").Process(target=table.get, args=([1, 4], TEXTS.__getitem__))
    process.start()
    process.join()
    assert process.exitcode == 0 and table.known.tolist() == [False, True, False, False, True]
    found = table.get([4, 1], lambda row: pytest.fail(f"row {row} was made twice"))
    assert torch.equal(found, models.tokenizer("demo")([TEXTS[4], TEXTS[1]]))


def test_tokens_that_need_more_than_two_bytes():
    table = TokenTable(2, lambda texts: torch.tensor([[70_000 * len(text)] for text in texts]))
    with pytest.raises(AmorlipError, match="token 70000 does not fit in two bytes"):
        table.get([0], lambda _: "a")
