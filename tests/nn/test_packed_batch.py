"""How a row of tokens divides into texts."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from semtune.nn.key_value_cache import KeyValueCache
from semtune.nn.packed_batch import ROW_MULTIPLE, PackedBatch, padding_to_multiple

HEADS, DIM = 3, 2


def test_positions_start_anew_in_each_text_and_go_on_from_the_cache() -> None:
    cpu = torch.device("cpu")
    assert PackedBatch((2, 3)).position_ids(cpu).tolist() == [[0, 1, 0, 1, 2]]
    cache = KeyValueCache(2)
    cache.advance([4, 1])
    assert PackedBatch((1, 2), cache).position_ids(cpu).tolist() == [[4, 1, 2]]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_block_and_back(lengths: list[int]) -> None:
    """Each text's tokens stand at the left of its row, and come back in their order."""
    x = torch.arange(sum(lengths) * HEADS * DIM).view(-1, HEADS, DIM)
    layout = PackedBatch(tuple(lengths)).layout(x.device)
    block = x.reshape(-1, DIM)[layout.pad_index(HEADS, queries=False)].view(len(lengths), HEADS, -1, DIM)
    for row, text in zip(block, x.split(lengths), strict=True):
        assert torch.equal(row[:, : len(text)], text.transpose(0, 1))
    assert torch.equal(block.view(-1, DIM)[layout.unpad_index(HEADS, queries=False)].view(x.shape), x)


@given(st.integers(1, 2000))
def test_rows_are_filled_up_to_few_sizes(tokens: int) -> None:
    row = tokens + padding_to_multiple(tokens)
    assert tokens <= row < tokens + ROW_MULTIPLE
    assert row == tokens if tokens <= ROW_MULTIPLE else row % ROW_MULTIPLE == 0
