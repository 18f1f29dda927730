"""Attention behind a learned prefix: the compiled path against fp64, and every inference path against the textbook."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from semtune.nn import attention as attention_module
from semtune.nn.attention import packed_attention
from semtune.nn.key_value_cache import KeyValueCache
from semtune.nn.packed_batch import PackedBatch
from semtune.nn.padding import Rotary
from semtune.nn.tree import PackedTree, TokenTree

HEADS, KV_HEADS, DIM, SCALE, LENGTH = 6, 2, 32, 0.2, 5
LENGTHS = (4, 1, 9)
TOKENS = sum(LENGTHS)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def angles(positions: int) -> Rotary:
    at = torch.arange(positions, dtype=torch.float64)[:, None] * 0.3 ** torch.arange(DIM // 2, dtype=torch.float64)
    return Rotary(at.cos(), at.sin())


def inputs(dtype: torch.dtype, queries: int = TOKENS) -> tuple[list[Tensor], Rotary]:
    """q, k, v, keys and values of the prefix (fp32, as they are trained; fp64 for fp64), rounded to bf16's grid."""
    shapes = [(queries, HEADS, DIM), (TOKENS, KV_HEADS, DIM), (TOKENS, KV_HEADS, DIM), *[(KV_HEADS, LENGTH, DIM)] * 2]
    kinds = [dtype] * 3 + [torch.float64 if dtype == torch.float64 else torch.float32] * 2
    drawn = [draw(*shape, seed=i).bfloat16() for i, shape in enumerate(shapes)]
    rotary = angles(max(LENGTHS))
    wide = dtype if dtype == torch.float64 else torch.float32
    return (
        [x.to(kind).requires_grad_() for x, kind in zip(drawn, kinds, strict=True)],
        Rotary(rotary.cos.to(wide), rotary.sin.to(wide)),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("plain_up_to", [0, 1000], ids=["fused kernel", "compiled"])
@pytest.mark.parametrize("query_indices", [None, (1, 3, 4, 9)], ids=["all", "some"])
def test_low_precision_equals_fp64_with_gradients(
    query_indices: tuple[int, ...] | None, plain_up_to: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = TOKENS if query_indices is None else len(query_indices)

    def run(kind: torch.dtype, limit: int) -> tuple[Tensor, list[Tensor]]:
        monkeypatch.setattr(attention_module, "PLAIN_UP_TO", limit)
        (q, k, v, *prefix), rotary = inputs(kind, queries)
        out = packed_attention(
            q, k, v, PackedBatch(LENGTHS), layer=0, scale=SCALE, rotary=rotary, query_indices=query_indices,
            prefix=(prefix[0], prefix[1]),
        )  # fmt: skip
        (out * draw(*out.shape, seed=9).to(kind)).sum().backward()
        return out, [x.grad for x in (q, k, v, *prefix)]

    out, grads = run(dtype, plain_up_to)
    expected, expected_grads = run(torch.float64, 0)
    tolerance = 1e-5 if dtype == torch.float32 else 4e-2
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)
    for mine, other in zip(grads, expected_grads, strict=True):
        scale = other.abs().max()
        torch.testing.assert_close(mine.double() / scale, other / scale, rtol=0, atol=tolerance)
    assert grads[3].dtype == torch.float32  # the sum over the texts is not rounded to bf16


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("window", [None, 3])
@torch.no_grad()
def test_decoding_in_pieces_equals_the_whole(window: int | None, dtype: torch.dtype) -> None:
    (q, k, v, *prefix), rotary = inputs(dtype)
    pair = (prefix[0], prefix[1])
    options = {"layer": 0, "scale": SCALE, "window": window, "rotary": rotary, "prefix": pair}
    whole = packed_attention(q, k, v, PackedBatch(LENGTHS), **options).split(list(LENGTHS))
    parts = [x.split(list(LENGTHS)) for x in (q, k, v)]
    cache, texts, done = KeyValueCache(2), (0, 2), [0, 0]
    for counts in ((2, 5), (1, 1), (1, 3)):
        pieces = [slice(start, start + n) for start, n in zip(done, counts, strict=True)]
        batch = PackedBatch(counts, cache)
        rows = [torch.cat([part[i][piece] for i, piece in zip(texts, pieces, strict=True)]) for part in parts]
        out = packed_attention(*rows, batch, **options)
        batch.advance()
        expected = torch.cat([whole[i][piece] for i, piece in zip(texts, pieces, strict=True)])
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)
        done = [start + n for start, n in zip(done, counts, strict=True)]
    assert cache.lengths == [4, 9]


@pytest.mark.parametrize("grad", [False, True])
def test_a_tree_of_continuations_sees_the_prefix(grad: bool) -> None:
    """Each branch of the tree equals its text alone."""
    branches = [[1, 2, 3], [1, 5]]
    tree = TokenTree.of(branches)
    tokens = 3 + len(tree.tokens)
    q, k, v = draw(tokens, HEADS, DIM, seed=0), draw(tokens, KV_HEADS, DIM, seed=1), draw(tokens, KV_HEADS, DIM, seed=2)
    prefix = (draw(KV_HEADS, LENGTH, DIM, seed=3).requires_grad_(grad), draw(KV_HEADS, LENGTH, DIM, seed=4))
    options = {"layer": 0, "scale": SCALE, "rotary": angles(8), "prefix": prefix}
    out = packed_attention(q, k, v, PackedTree([3], tree), **options)
    for nodes in tree.paths:
        rows = [0, 1, 2, *(3 + node for node in nodes)]
        alone = packed_attention(q[rows], k[rows], v[rows], PackedBatch((len(rows),)), **options)
        torch.testing.assert_close(out[rows], alone, rtol=0, atol=1e-12)
