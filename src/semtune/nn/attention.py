"""Causal attention over unpadded texts laid end to end, each text by itself, with rotary embeddings.

Queries, keys and values are put into padded blocks, rotated there, and what comes out is laid end to end again (see
`packed_batch`). For short texts the products are written out (`short_attention`). Long texts, and all on a GPU, go to torch's
fused kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from semtune.nn.cuda_path import on_cuda
from semtune.nn.packed_batch import Layout, PackedBatch
from semtune.nn.padding import (
    Rotary,
    Turns,
    causal_softmax_,
    gather_padded,
    gather_rows,
    pad,
    rotate,
    softmax_under,
    turns_of,
    unpad,
)
from semtune.nn.short_attention import short_attention

PLAIN_UP_TO = 256
"""Longest text (tokens) for which attention is written out; longer ones go to the fused kernel."""


def packed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    packed_batch: PackedBatch,
    *,
    layer: int,
    scale: float,
    window: int | None = None,
    rotary: Rotary | None = None,
    queries: tuple[int, ...] | None = None,
) -> Tensor:
    """Causal attention, each text by itself.

    Args:
        q: (rows, heads, head_dim): a row a token that asks, and any number of padding rows behind them.
        k, v: (rows, kv_heads, head_dim): a row a token; heads is a multiple of kv_heads.
        packed_batch: how tokens divide into texts, and the cache if there is one.
        layer: index of the layer, for the cache.
        scale: factor on the scores, 1/sqrt(head_dim) as a rule.
        window: sliding window in tokens, None for full attention.
        rotary: applied to queries and keys; None: they are rotated already, or the layer does not rotate.
        queries: places of the tokens that ask, ascending; None: all tokens do.

    Returns:
        (rows of q, heads, head_dim); zero in padding rows.
    """
    if packed_batch.parts:
        return _part_by_part(q, k, v, packed_batch, layer, scale, window, rotary, queries)
    layout = packed_batch.layout(q.device, queries)
    seqlen_k = layout.max_seqlen + (0 if layout.cache_is_empty else max(layout.cache_seqlens))
    windowed = window is not None and seqlen_k > window
    short = layout.max_seqlen <= PLAIN_UP_TO and not on_cuda(q)
    if short and layout.causal and packed_batch.cache is None and not windowed:
        return short_attention(q, k, v, rotary, layout, scale)
    if short and not (torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)):
        return _answering(q, k, v, rotary, packed_batch, layout, layer, scale, window if windowed else None)
    turns = None if rotary is None else turns_of(rotary, layout)
    return _general(q, k, v, turns, packed_batch, layout, layer, scale, window)


def _part_by_part(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    packed_batch: PackedBatch,
    layer: int,
    scale: float,
    window: int | None,
    rotary: Rotary | None,
    queries: tuple[int, ...] | None,
) -> Tensor:
    """The parts of `packed_batch` one after the other."""
    attn_output: list[Tensor] = []
    asked = held = 0  # rows of q, and of k and v, that are done
    for part, own in zip(packed_batch.parts, packed_batch.split(queries), strict=True):
        tokens = sum(part.lengths)
        asking = tokens if own is None else len(own)
        q_part, k_part, v_part = q[asked : asked + asking], k[held : held + tokens], v[held : held + tokens]
        attn_output.append(
            packed_attention(
                q_part, k_part, v_part, part, layer=layer, scale=scale, window=window, rotary=rotary, queries=own
            )
        )
        asked, held = asked + asking, held + tokens
    return torch.cat([*attn_output, q.new_zeros(len(q) - asked, *q.shape[1:])])


def _answering(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rotary: Rotary | None,
    packed_batch: PackedBatch,
    layout: Layout,
    layer: int,
    scale: float,
    window: int | None,
) -> Tensor:
    """As `short_attention`, without a backward: with a cache, a window, or another mask than the causal one."""
    heads, kv_heads = q.shape[1], k.shape[1]
    qb = pad(q, layout, rotary, queries=True)
    kb, vb = pad(k, layout, rotary, queries=False), pad(v, layout, None, queries=False)
    if packed_batch.cache is not None:
        kb, vb = packed_batch.cache.extend(layer, kb, vb, packed_batch.lengths)  # (texts, kv_heads, seqlen_k, head_dim)
    groups = layout.texts * kv_heads
    scores = torch.bmm(qb.view(groups, -1, q.shape[2]), kb.flatten(0, 1).transpose(1, 2))
    if layout.causal and window is None:
        weights = causal_softmax_(scores, layout, heads, scale)
    else:
        weights = softmax_under(layout.bias(kb.shape[2], window, q.dtype), scores, layout, heads, scale)
    return unpad(torch.bmm(weights, vb.flatten(0, 1)), len(q), heads, layout, None, queries=True)


def _general(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    turns: Turns | None,
    packed_batch: PackedBatch,
    layout: Layout,
    layer: int,
    scale: float,
    window: int | None,
) -> Tensor:
    """Long texts, a window or a cache in training, all on a GPU: torch's fused kernel, or under a mask."""
    heads, kv_heads = q.shape[1], k.shape[1]
    qb = _pick(q, layout, True)
    kb, vb = _pick(k, layout, False), _pick(v, layout, False)
    if turns is not None:
        qb, kb = rotate(qb, turns.q), rotate(kb, turns.k)
    if packed_batch.cache is not None:
        kb, vb = packed_batch.cache.extend(layer, kb, vb, packed_batch.lengths)
    seqlen_k = kb.shape[2]
    windowed = window is not None and seqlen_k > window
    if layout.causal and layout.cache_is_empty and not windowed and layout.asking == layout.tokens:
        out = F.scaled_dot_product_attention(qb, kb, vb, is_causal=True, scale=scale, enable_gqa=heads != kv_heads)
    else:
        out = _masked(qb, kb, vb, layout.bias(seqlen_k, window if windowed else None, q.dtype), scale)
    result: Tensor = _unpick(out, len(q), layout)
    return result


def _masked(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
    """softmax(q kᵀ scale + bias) v over blocks (texts, heads, max_seqlen, head_dim)."""
    texts, heads, max_seqlen, dim = q.shape
    groups = texts * k.shape[1]
    scores = torch.bmm(
        q.reshape(groups, -1, dim), k.flatten(0, 1).transpose(1, 2)
    )  # (texts·kv, group·max_seqlen, seqlen_k)
    scores = torch.add(bias, scores.view(texts, heads, max_seqlen, -1), alpha=scale)
    weights = torch.softmax(scores, dim=-1).view(groups, -1, k.shape[2])
    return torch.bmm(weights, v.flatten(0, 1)).view(texts, heads, max_seqlen, -1)


class _Pick(torch.autograd.Function):
    """Rows (rows, heads, head_dim) into a padded block; the gradient of padded places is dropped.

    (That gradient is exactly zero as long as attention is causal and padded queries' answers are dropped.)
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, layout: Layout, queries: bool) -> Tensor:
        ctx.rows, ctx.layout, ctx.queries = len(x), layout, queries
        return gather_padded(x, layout, queries=queries)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        return gather_rows(grad.flatten(1, 2), ctx.rows, grad.shape[1], ctx.layout, queries=ctx.queries), None, None


class _Unpick(torch.autograd.Function):
    """The block of answers (texts, heads, max_seqlen_q, head_dim) back into rows; padded answers are dropped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: int, layout: Layout) -> Tensor:
        ctx.layout = layout
        return gather_rows(x.flatten(1, 2), rows, x.shape[1], layout, queries=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        block = gather_padded(grads[0], ctx.layout, queries=True)
        padded = ctx.layout.padded(block.shape[1], queries=True)
        if padded is not None:
            block.view(-1, block.shape[-1]).index_fill_(0, padded, 0.0)
        return block, None, None


_pick: Callable[..., Tensor] = _Pick.apply
_unpick: Callable[..., Tensor] = _Unpick.apply
