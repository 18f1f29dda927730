"""Attention over texts laid end to end, against the textbook formula one text and one query at a time, in fp64."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semtune.nn import ragged as module
from semtune.nn.ragged import ROW_MULTIPLE, KeyValueCache, Ragged, filler_for, ragged_attention

HEADS, KV_HEADS, DIM = 6, 2, 5
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


def run(q: Tensor, k: Tensor, v: Tensor, ragged: Ragged, window: int | None = None, layer: int = 0) -> Tensor:
    return ragged_attention(q, k, v, ragged, layer=layer, scale=SCALE, window=window)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(lengths_of_batch, st.none() | st.integers(1, 10), st.booleans(), st.integers(0, 3))
def test_equals_the_textbook(lengths: list[int], window: int | None, fused: bool, filler: int) -> None:
    """Whatever the lengths; also where the fused kernel takes over, with a sliding window, with dummy tokens behind."""
    q, k, v = random_qkv(sum(lengths) + filler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PLAIN_UP_TO", 0 if fused else 1000)
        out = run(q, k, v, Ragged(tuple(lengths), filler=filler), window)
    close(out[:, : sum(lengths)], textbook(q, k, v, lengths, window))
    assert out.shape == (1, sum(lengths) + filler, HEADS, DIM)
    assert not out[:, sum(lengths) :].any()


@pytest.mark.parametrize("limit", [0, 1000])
@pytest.mark.parametrize("filler", [0, 3])
@pytest.mark.parametrize("lengths", [[4, 7, 1, 7], [5, 5], [6]])
def test_gradients_equal_the_textbook(
    lengths: list[int], limit: int, filler: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of dummy tokens are zero, whatever comes back into their places."""
    monkeypatch.setattr(module, "PLAIN_UP_TO", limit)
    row = sum(lengths) + filler
    ours, theirs = (random_qkv(row, requires_grad=True) for _ in range(2))
    weight = torch.randn(1, row, HEADS, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (run(*ours, Ragged(tuple(lengths), filler=filler)) * weight).sum().backward()
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
        ragged = Ragged(tuple(end - start for _, start, end in pieces), cache)
        for layer, qkv in enumerate(layers):
            q, k, v = (take(x, lengths, pieces) for x in qkv)
            out = run(q, k, v, ragged, window, layer)
            close(out.transpose(1, 2), take(expected[layer], lengths, pieces))
        cache.advance(ragged.lengths)
        for text, _, end in pieces:
            done[text] = end
        rows = [row for row, text in enumerate(alive) if done[text] < lengths[text]]
        if len(rows) < len(alive) and rows:
            cache.keep(rows)
        alive = [alive[row] for row in rows]


def test_keep_forgets_the_others_memory() -> None:
    """The arrays shrink to the texts that stay, and to the longest of them."""
    cache = KeyValueCache(3)
    lengths = (9, 2, 4)
    _, k, v = random_qkv(sum(lengths))
    ragged = Ragged(lengths, cache)
    cache.extend(0, ragged.to_block(k), ragged.to_block(v), lengths)
    cache.advance(lengths)
    cache.keep([2, 1])
    assert cache.lengths == [4, 2]
    one_more = torch.zeros(2, KV_HEADS, 1, DIM, dtype=torch.float64)
    held, _ = cache.extend(0, one_more, one_more, [1, 1])
    assert held.shape == (2, KV_HEADS, 5, DIM)
    close(held[0, :, :4], k[0, :, 11:])
    close(held[1, :, :2], k[0, :, 9:11])


def test_a_layer_that_was_not_cached_from_the_start_is_refused() -> None:
    cache = KeyValueCache(1)
    block = torch.zeros(1, KV_HEADS, 2, DIM)
    cache.extend(0, block, block, [2])
    cache.advance([2])
    with pytest.raises(RuntimeError, match="layer 1"):
        cache.extend(1, block, block, [2])


def test_positions_start_anew_in_each_text_and_go_on_from_the_cache() -> None:
    cpu = torch.device("cpu")
    assert Ragged((2, 3)).position_ids(cpu).tolist() == [[0, 1, 0, 1, 2]]
    cache = KeyValueCache(2)
    cache.advance([4, 1])
    assert Ragged((1, 2), cache).position_ids(cpu).tolist() == [[4, 1, 2]]


@given(lengths_of_batch)
def test_block_and_back(lengths: list[int]) -> None:
    x = torch.arange(sum(lengths) * HEADS * DIM, dtype=torch.float64).view(1, HEADS, sum(lengths), DIM)
    ragged = Ragged(tuple(lengths))
    block = ragged.to_block(x)
    assert block.shape == (len(lengths), HEADS, max(lengths), DIM)
    assert torch.equal(ragged.from_block(block), x.transpose(1, 2))


def test_masked_values_never_reach_another_text() -> None:
    """Not by one bit, and not even where they are infinite."""
    lengths = (3, 5, 2)
    q, k, v = random_qkv(sum(lengths))
    before = run(q, k, v, Ragged(lengths))
    with torch.no_grad():
        v[:, :, 3:8] = math.inf
        k[:, :, 3:8] *= -7
    after = run(q, k, v, Ragged(lengths))
    assert torch.equal(before[:, :3], after[:, :3])
    assert torch.equal(before[:, 8:], after[:, 8:])
    assert not torch.equal(before[:, 3:8], after[:, 3:8])


def test_bf16_rounds_no_more_than_its_inputs_do() -> None:
    lengths = [30, 7, 18]
    q, k, v = (x.to(torch.bfloat16) for x in random_qkv(sum(lengths)))
    exact = textbook(q.double(), k.double(), v.double(), lengths)
    torch.testing.assert_close(run(q, k, v, Ragged(tuple(lengths))).double(), exact, rtol=0.02, atol=0.03)


@given(st.integers(1, 2000))
def test_rows_are_filled_up_to_few_sizes(tokens: int) -> None:
    row = tokens + filler_for(tokens)
    assert tokens <= row < tokens + ROW_MULTIPLE
    assert row == tokens if tokens <= ROW_MULTIPLE else row % ROW_MULTIPLE == 0
