"""Attention over texts laid end to end, against the textbook formula one text and one query at a time, in fp64."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semtune.nn import attention as module
from semtune.nn.attention import packed_attention
from semtune.nn.key_value_cache import KeyValueCache
from semtune.nn.packed_batch import PackedBatch
from semtune.nn.padding import Rotary

HEADS, KV_HEADS, DIM = 6, 2, 4
SCALE = 0.7

lengths_of_batch = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Threads that wait for each other on a busy machine cost a hundred times what these sizes do."""
    torch.set_num_threads(1)


def random_qkv(tokens: int, seed: int = 0, requires_grad: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(heads: int) -> Tensor:
        x = torch.randn(1, heads, tokens, DIM, dtype=torch.float64, generator=generator)
        return x.requires_grad_(requires_grad)

    return draw(HEADS), draw(KV_HEADS), draw(KV_HEADS)


def textbook(q: Tensor, k: Tensor, v: Tensor, lengths: list[int], window: int | None = None) -> Tensor:
    """(1, tokens, heads, dim): every query of every text and head by itself."""
    rows = []
    for start, end in pairwise([sum(lengths[:i]) for i in range(len(lengths) + 1)]):
        for place in range(start, end):
            first = start if window is None else max(start, place - window + 1)
            heads = []
            for head in range(HEADS):
                group = head // (HEADS // KV_HEADS)
                scores = k[0, group, first : place + 1] @ q[0, head, place] * SCALE
                heads.append(torch.softmax(scores, 0) @ v[0, group, first : place + 1])
            rows.append(torch.stack(heads))
    return torch.stack(rows).unsqueeze(0)


def run(
    q: Tensor, k: Tensor, v: Tensor, packed_batch: PackedBatch, window: int | None = None, layer: int = 0
) -> Tensor:
    """(1, tokens, heads, dim), from blocks of one row of tokens as transformers makes them."""
    rows = (x[0].transpose(0, 1) for x in (q, k, v))
    return packed_attention(*rows, packed_batch, layer=layer, scale=SCALE, window=window).unsqueeze(0)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(lengths_of_batch, st.none() | st.integers(1, 10), st.booleans(), st.integers(0, 3))
def test_equals_the_textbook(lengths: list[int], window: int | None, fused: bool, padding: int) -> None:
    """Whatever the lengths; also where the fused kernel takes over, with a sliding window, with dummy tokens behind."""
    q, k, v = random_qkv(sum(lengths) + padding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PLAIN_UP_TO", 0 if fused else 1000)
        out = run(q, k, v, PackedBatch(tuple(lengths), padding=padding), window)
    close(out[:, : sum(lengths)], textbook(q, k, v, lengths, window))
    assert out.shape == (1, sum(lengths) + padding, HEADS, DIM)
    assert not out[:, sum(lengths) :].any()


@pytest.mark.parametrize("limit", [0, 1000])
@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("lengths", [[4, 7, 1, 7], [5, 5], [6]])
def test_gradients_equal_the_textbook(
    lengths: list[int], limit: int, padding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of dummy tokens are zero, whatever comes back into their places."""
    monkeypatch.setattr(module, "PLAIN_UP_TO", limit)
    row = sum(lengths) + padding
    ours, theirs = (random_qkv(row, requires_grad=True) for _ in range(2))
    weight = torch.randn(1, row, HEADS, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (run(*ours, PackedBatch(tuple(lengths), padding=padding)) * weight).sum().backward()
    (textbook(*theirs, lengths) * weight[:, : sum(lengths)]).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        close(a.grad, b.grad)


def take(x: Tensor, lengths: list[int], pieces: list[tuple[int, int, int]]) -> Tensor:
    """Of (1, heads, tokens, dim), the tokens from `start` to `end` of each text in `pieces` (text, start, end)."""
    places = [sum(lengths[:text]) + place for text, start, end in pieces for place in range(start, end)]
    return x[:, :, places]


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_cache_in_pieces_equals_all_at_once(data: st.DataObject) -> None:
    """Texts grow by pieces of any size, texts that are done leave; two layers with their own keys."""
    lengths = data.draw(lengths_of_batch)
    window = data.draw(st.none() | st.integers(1, 6))
    layers = [random_qkv(sum(lengths), seed) for seed in (0, 1)]
    expected = [textbook(*qkv, lengths, window).transpose(1, 2) for qkv in layers]
    cache = KeyValueCache(len(lengths))
    alive, done = list(range(len(lengths))), [0] * len(lengths)
    while alive:
        pieces = [(t, done[t], data.draw(st.integers(done[t] + 1, lengths[t]), label=f"text {t} to")) for t in alive]
        packed_batch = PackedBatch(tuple(end - start for _, start, end in pieces), cache)
        for layer, qkv in enumerate(layers):
            q, k, v = (take(x, lengths, pieces) for x in qkv)
            out = run(q, k, v, packed_batch, window, layer)
            close(out.transpose(1, 2), take(expected[layer], lengths, pieces))
        cache.advance(packed_batch.lengths)
        for text, _, end in pieces:
            done[text] = end
        rows = [row for row, text in enumerate(alive) if done[text] < lengths[text]]
        if len(rows) < len(alive) and rows:
            cache.keep(rows)
        alive = [alive[row] for row in rows]


def test_masked_values_never_reach_another_text() -> None:
    """Not by one bit, and not even where they are infinite."""
    lengths = (3, 5, 2)
    q, k, v = random_qkv(sum(lengths))
    before = run(q, k, v, PackedBatch(lengths))
    with torch.no_grad():
        v[:, :, 3:8] = math.inf
        k[:, :, 3:8] *= -7
    after = run(q, k, v, PackedBatch(lengths))
    assert torch.equal(before[:, :3], after[:, :3])
    assert torch.equal(before[:, 8:], after[:, 8:])
    assert not torch.equal(before[:, 3:8], after[:, 3:8])


def test_bf16_rounds_no_more_than_its_inputs_do() -> None:
    lengths = [30, 7, 18]
    q, k, v = (x.to(torch.bfloat16) for x in random_qkv(sum(lengths)))
    exact = textbook(q.double(), k.double(), v.double(), lengths)
    torch.testing.assert_close(run(q, k, v, PackedBatch(tuple(lengths))).double(), exact, rtol=0.02, atol=0.03)


def turned(x: Tensor, lengths: list[int], start: int = 0) -> Tensor:
    """Rotary embedding as transformers writes it: x cos + rotate_half(x) sin, each text counted from 0."""
    positions = torch.cat([torch.arange(n) for n in lengths]).double()
    angles = torch.outer(positions, FREQUENCIES).repeat(1, 2)  # (tokens, dim)
    halves = torch.cat([-x[..., DIM // 2 :], x[..., : DIM // 2]], dim=-1)
    return x * angles.cos() + halves * angles.sin()


FREQUENCIES = torch.tensor([1.0, 0.3], dtype=torch.float64)


def table(positions: int) -> Rotary:
    angles = torch.outer(torch.arange(positions).double(), FREQUENCIES)
    return Rotary(angles.cos(), angles.sin())


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_only_some_tokens_ask_and_rotary(data: st.DataObject) -> None:
    """Answers and gradients are those of the same tokens when all ask, texts that ask nothing included."""
    lengths = data.draw(lengths_of_batch)
    tokens = sum(lengths)
    asking = sorted(data.draw(st.sets(st.integers(0, tokens - 1), min_size=1)))
    padding, fused = data.draw(st.integers(0, 2)), data.draw(st.booleans())
    ours, theirs = (random_qkv(tokens, requires_grad=True) for _ in range(2))
    rows = [x[0].transpose(0, 1) for x in ours]
    q = torch.nn.functional.pad(rows[0][asking], (0, 0, 0, 0, 0, padding), value=3.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PLAIN_UP_TO", 0 if fused else 1000)
        out = packed_attention(
            q,
            *rows[1:],
            PackedBatch(tuple(lengths)),
            layer=0,
            scale=SCALE,
            rotary=table(max(lengths)),
            query_indices=tuple(asking),
        )
    expected = textbook(turned(theirs[0], lengths), turned(theirs[1], lengths), theirs[2], lengths)[0, asking]
    close(out[: len(asking)], expected)
    assert not out[len(asking) :].any()
    weight = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (out[: len(asking)] * weight).sum().backward()
    (expected * weight).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        close(a.grad, b.grad)


@torch.no_grad()
def test_rotary_goes_on_from_the_cache() -> None:
    lengths = [5, 3]
    q, k, v = random_qkv(sum(lengths))
    expected = textbook(turned(q, lengths), turned(k, lengths), v, lengths)[0]
    cache, pieces = KeyValueCache(2), [[(0, 0, 3), (1, 0, 2)], [(0, 3, 5), (1, 2, 3)]]
    for part in pieces:
        rows = [take(x, lengths, part)[0].transpose(0, 1) for x in (q, k, v)]
        packed_batch = PackedBatch(tuple(end - start for _, start, end in part), cache)
        out = packed_attention(*rows, packed_batch, layer=0, scale=SCALE, rotary=table(5))
        cache.advance(packed_batch.lengths)
        close(out, take(expected.transpose(0, 1).unsqueeze(0), lengths, part)[0].transpose(0, 1))
