"""Texts behind a stem that a cache holds once: attention equals that over caches that hold all of each text."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from semtune.nn import attention as module
from semtune.nn.attention import packed_attention
from semtune.nn.key_value_cache import KeyValueCache
from semtune.nn.packed_batch import PackedBatch
from semtune.nn.padding import Rotary

HEADS, KV_HEADS, DIM = 4, 2, 8
STEM, OWN, NEW, LATER = (9, 14), (0, 3, 5), (6, 2, 1), (1, 1, 3)
"""Tokens of the stem's segments, of each text's copied part, and of two forwards."""


def rows(tokens: int, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(tokens, heads, DIM) for heads in (HEADS, KV_HEADS, KV_HEADS)]
    q, k, v = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)
    return q, k, v


def rotary(dtype: torch.dtype) -> Rotary:
    angles = torch.outer(torch.arange(64).double(), torch.tensor([1.0, 0.5, 0.2, 0.1]).double())
    return Rotary(angles.cos().to(dtype), angles.sin().to(dtype))


def attend(counts, seed: int, cache: KeyValueCache, dtype, window, prefix) -> Tensor:
    batch = PackedBatch(tuple(counts), cache)
    arguments = {"layer": 0, "scale": 0.3, "window": window, "rotary": rotary(dtype), "prefix": prefix}
    out = packed_attention(*rows(sum(counts), seed, dtype), batch, **arguments)
    cache.advance(counts)
    return out


def segments(lengths, seed: int, dtype) -> list:
    """Consecutive segments of one text."""
    cache = KeyValueCache(1)
    attend([sum(lengths)], seed, cache, dtype, None, None)
    ends = list(itertools.accumulate(lengths, initial=0))
    return [cache.cut(0, first, last) for first, last in itertools.pairwise(ends) if last > first]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("window", [None, 4, 12])
@pytest.mark.parametrize("with_prefix", [False, True])
@pytest.mark.parametrize("limit", [0, 1000])
@torch.no_grad()
def test_a_stem_is_as_good_as_copies(
    dtype: torch.dtype, window: int | None, with_prefix: bool, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both code paths, with a sliding window and a learned prefix, after texts have left, come and gone back."""
    monkeypatch.setattr(module, "PLAIN_UP_TO", limit)
    prefix = tuple(x[:3].transpose(0, 1) for x in rows(3, 7, dtype)[1:]) if with_prefix else None
    # The positions of a text's own part come after the stem, so that it is cut out of a whole text.
    texts = [segments([*STEM, own], 10 + i, dtype) for i, own in enumerate(OWN)]
    stem = texts[0][:2]
    shared, copied = KeyValueCache(3), KeyValueCache(3)
    shared.begin(stem, [text[2:] for text in texts])
    copied.begin([], [[*stem, *text[2:]] for text in texts])
    tolerance = {"rtol": 0, "atol": 1e-12 if dtype == torch.float64 else 1e-5}
    assert shared.lengths == copied.lengths == [sum(STEM) + own for own in OWN]
    outputs = [attend(NEW, 20, cache, dtype, window, prefix) for cache in (shared, copied)]
    torch.testing.assert_close(*outputs, **tolerance)
    for cache in (shared, copied):
        cache.rewind([n - back for n, back in zip(cache.lengths, (2, 0, 1), strict=True)])
        cache.keep([2, 0])
        other = KeyValueCache(1)
        other.begin(stem if cache is shared else [], [[]] if cache is shared else [stem])
        attend([4], 21, other, dtype, window, prefix)
        cache.join(other)
    outputs = [attend(LATER, 22, cache, dtype, window, prefix) for cache in (shared, copied)]
    torch.testing.assert_close(*outputs, **tolerance)


def test_what_cannot_be_is_refused() -> None:
    dtype = torch.float64
    stem = segments([5], 0, dtype)
    cache, other = KeyValueCache(1), KeyValueCache(1)
    cache.begin(stem, [[]])
    attend([2], 1, cache, dtype, None, None)
    attend([2], 1, other, dtype, None, None)
    with pytest.raises(ValueError, match="rewound"):
        cache.rewind([4])
    with pytest.raises(ValueError, match="cannot be cut"):
        cache.cut(0, 4, 6)
    with pytest.raises(ValueError, match="joined"):
        cache.join(other)


def test_a_segment_that_is_split_keeps_no_memory_of_the_other_part() -> None:
    (whole,) = segments([12], 0, torch.float32)
    first, last = whole.split(5)
    assert (first.tokens, last.tokens) == (5, 7)
    assert first.nbytes + last.nbytes == whole.nbytes
    assert first.keys[0].untyped_storage().nbytes() == KV_HEADS * 5 * DIM * 4
    assert torch.equal(torch.cat([first.values[0], last.values[0]], dim=1), whole.values[0])
