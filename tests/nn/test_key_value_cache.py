"""Keys and values held for decoding; that attention over them is right is for `test_attention`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from semtune.nn.key_value_cache import GROWTH, KeyValueCache

KV_HEADS, DIM = 2, 4


def block_of(rows: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """(tokens, heads, dim) -> (texts, heads, max_seqlen, dim), padded on the right."""
    texts = [text.transpose(0, 1) for text in rows.split(lengths)]
    return torch.stack([torch.nn.functional.pad(t, (0, 0, 0, max(lengths) - t.shape[1])) for t in texts])


def test_keep_forgets_the_others_memory() -> None:
    """The arrays shrink to the texts that stay, and to the longest of them."""
    cache = KeyValueCache(3)
    lengths = (9, 2, 4)
    k, v = (torch.randn(sum(lengths), KV_HEADS, DIM, dtype=torch.float64) for _ in range(2))
    cache.extend(0, block_of(k, lengths), block_of(v, lengths), lengths)
    cache.advance(lengths)
    cache.keep([2, 1])
    assert cache.lengths == [4, 2]
    one_more = torch.zeros(2, KV_HEADS, 1, DIM, dtype=torch.float64)
    held, _ = cache.extend(0, one_more, one_more, [1, 1])
    assert held.shape == (2, KV_HEADS, 5, DIM)
    assert torch.equal(held[0, :, :4], k[11:].transpose(0, 1))
    assert torch.equal(held[1, :, :2], k[9:11].transpose(0, 1))


def test_a_layer_that_was_not_cached_from_the_start_is_refused() -> None:
    cache = KeyValueCache(1)
    block = torch.zeros(1, KV_HEADS, 2, DIM)
    cache.extend(0, block, block, [2])
    cache.advance([2])
    with pytest.raises(RuntimeError, match="layer 1"):
        cache.extend(1, block, block, [2])


def test_a_text_may_go_on_twice() -> None:
    """One prompt, many continuations: each has its own room from there."""
    cache = KeyValueCache(2)
    k = torch.randn(5, KV_HEADS, DIM)
    cache.extend(0, block_of(k, (2, 3)), block_of(-k, (2, 3)), (2, 3))
    cache.advance((2, 3))
    cache.keep([1, 1, 0])
    new = torch.arange(3.0).view(3, 1, 1, 1).expand(3, KV_HEADS, 1, DIM)
    keys, values = cache.extend(0, new, new, [1, 1, 1])
    assert torch.equal(keys[0, :, :3], keys[1, :, :3])
    assert torch.equal(keys[0, :, :3], k[2:].transpose(0, 1))
    assert torch.equal(values[2, :, :2], -k[:2].transpose(0, 1))
    assert [keys[0, 0, 3, 0], keys[1, 0, 3, 0], keys[2, 0, 2, 0]] == [0, 1, 2]


def test_what_was_rewound_is_written_over() -> None:
    """A text goes on from where it was rewound to; the others keep theirs."""
    cache = KeyValueCache(2)
    k = torch.randn(5, KV_HEADS, DIM)
    cache.extend(0, block_of(k, (2, 3)), block_of(-k, (2, 3)), (2, 3))
    cache.advance((2, 3))
    cache.rewind([2, 1])
    new = torch.arange(2.0).view(2, 1, 1, 1).expand(2, KV_HEADS, 1, DIM)
    keys, _ = cache.extend(0, new, new, [1, 1])
    assert torch.equal(keys[0, :, :2], k[:2].transpose(0, 1))
    assert torch.equal(keys[1, :, :1], k[2:3].transpose(0, 1))
    assert (keys[0, 0, 2, 0], keys[1, 0, 1, 0]) == (0, 1)
    with pytest.raises(ValueError, match="rewound"):
        cache.rewind([3, 1])


def test_joined_caches_hold_the_texts_of_both() -> None:
    lengths, more = (2, 5), (3,)
    k, m = torch.randn(7, KV_HEADS, DIM), torch.randn(3, KV_HEADS, DIM)
    cache, other = KeyValueCache(2), KeyValueCache(1)
    for held, rows, counts in ((cache, k, lengths), (other, m, more)):
        held.extend(0, block_of(rows, counts), block_of(-rows, counts), counts)
        held.advance(counts)
    cache.join(other)
    assert cache.lengths == [2, 5, 3]
    one = torch.zeros(3, KV_HEADS, 1, DIM)
    keys, values = cache.extend(0, one, one, [1, 1, 1])
    for row, rows in enumerate((k[:2], k[2:], m)):
        assert torch.equal(keys[row, :, : len(rows)], rows.transpose(0, 1))
        assert torch.equal(values[row, :, : len(rows)], -rows.transpose(0, 1))


def test_room_grows_and_what_is_held_stays() -> None:
    cache = KeyValueCache(1)
    pieces = [torch.randn(1, KV_HEADS, 1, DIM) for _ in range(2 * GROWTH + 5)]
    for piece in pieces:
        held, _ = cache.extend(0, piece, piece, [1])
        cache.advance([1])
    assert torch.equal(held, torch.cat(pieces, dim=2))
