"""Causal attention over packed texts, each text by itself, with rotary embeddings and an optional learned prefix.

Queries, keys and values are padded into blocks and rotated there; the output is unpadded again (see `packed_batch`).
For short texts on a CPU attention runs as explicit matrix products (`short_attention`). Long texts, and all texts on a
GPU, use torch's fused kernel. A learned prefix takes the same paths (`prefixed`); with cached tokens or a sliding
window its keys stand before the padded ones under an explicit mask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from semtune.nn import shared_keys
from semtune.nn.cuda_path import on_cuda
from semtune.nn.packed_batch import Layout, PackedBatch
from semtune.nn.padding import (
    Rotary,
    behind_prefix,
    block_angles,
    causal_softmax_,
    gather_padded,
    gather_rows,
    pad,
    rotate,
    softmax_under,
    unpad,
)
from semtune.nn.prefixed import prefixed_texts
from semtune.nn.short_attention import short_attention

PLAIN_UP_TO = 256
"""Tokens of the longest text whose attention runs as explicit matrix products; longer ones use the fused kernel."""

Prefix = tuple[Tensor, Tensor]
"""Learned keys and values, each (kv_heads, prefix_length, head_dim); keys are not rotated."""


class _Call(NamedTuple):
    """Arguments that all code paths share beside q, k and v."""

    packed_batch: PackedBatch
    layout: Layout
    layer: int
    scale: float
    window: int | None
    """None where the window is at least as long as every text."""
    rotary: Rotary | None
    dropout: float
    """Probability that an attention weight is dropped."""

    def with_cache(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add padded keys and values (texts, kv_heads, max_seqlen, head_dim) to the cache; returns all of the texts."""
        cache: Any = self.packed_batch.cache
        if cache is None:
            return keys, values
        extended: tuple[Tensor, Tensor] = cache.extend(self.layer, keys, values, self.packed_batch.lengths)
        return extended

    def stem(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values that the cache holds once for all texts, each (kv_heads, n, head_dim); [] without any."""
        cache: Any = self.packed_batch.cache
        return cache.shared(self.layer) if cache is not None else []


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
    query_indices: tuple[int, ...] | None = None,
    prefix: Prefix | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Causal attention, each text by itself.

    Args:
        q: (rows, heads, head_dim): one row per query token, then any number of padding rows.
        k, v: (rows, kv_heads, head_dim): one row per token, then padding; heads is a multiple of kv_heads.
        packed_batch: how tokens divide into texts, with the cache if there is one.
        layer: index of the layer in the cache.
        scale: factor on the scores, usually 1/sqrt(head_dim).
        window: sliding window in tokens; None: full attention.
        rotary: applied to queries and keys; None: they are rotated already, or the layer does not rotate.
        query_indices: ascending indices of the tokens that have a query; None: all tokens.
        prefix: keys and values that every query attends to in addition, whatever the window (prefix tuning, Li & Liang
            2021, arXiv:2101.00190). Positions do not count them and the cache does not hold them.
        dropout: probability, in [0, 1), that an attention weight is dropped, drawn from torch's global generator; the
            caller passes 0 outside of training.

    Returns:
        (rows of q, heads, head_dim); zero in padding rows.
    """
    if packed_batch.parts:
        return _part_by_part(q, k, v, packed_batch, layer, scale, window, rotary, query_indices, prefix, dropout)
    layout = packed_batch.layout(q.device, query_indices)
    seqlen_k = layout.max_seqlen + (0 if layout.cache_is_empty else max(layout.cache_seqlens))
    window = window if window is not None and seqlen_k > window else None
    call = _Call(packed_batch, layout, layer, scale, window, rotary, dropout)
    plain = layout.causal and packed_batch.cache is None and window is None
    if plain and prefix is not None:
        return _behind_prefix(q, k, v, call, prefix)
    short = layout.max_seqlen <= PLAIN_UP_TO and not on_cuda(q) and dropout == 0
    if short and plain:
        return short_attention(q, k, v, rotary, layout, scale)
    if short and not (torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v, *(prefix or ())))):
        return _without_backward(q, k, v, call, prefix)
    return _general(q, k, v, call, prefix)


def _part_by_part(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    packed_batch: PackedBatch,
    layer: int,
    scale: float,
    window: int | None,
    rotary: Rotary | None,
    query_indices: tuple[int, ...] | None,
    prefix: Prefix | None,
    dropout: float,
) -> Tensor:
    """Attention for each part of `packed_batch`, one after the other."""
    attn_output: list[Tensor] = []
    first_query = first_token = 0
    for part, indices in zip(packed_batch.parts, packed_batch.split_query_indices(query_indices), strict=True):
        tokens = sum(part.lengths)
        queries = tokens if indices is None else len(indices)
        q_part = q[first_query : first_query + queries]
        k_part, v_part = k[first_token : first_token + tokens], v[first_token : first_token + tokens]
        attn_output.append(
            packed_attention(
                q_part, k_part, v_part, part, layer=layer, scale=scale, window=window, rotary=rotary,
                query_indices=indices, prefix=prefix, dropout=dropout,
            )
        )  # fmt: skip
        first_query, first_token = first_query + queries, first_token + tokens
    return torch.cat([*attn_output, q.new_zeros(len(q) - first_query, *q.shape[1:])])


def _behind_prefix(q: Tensor, k: Tensor, v: Tensor, call: _Call, prefix: Prefix) -> Tensor:
    """Causal attention without cached tokens or a window, over texts that begin with the prefix."""
    texts = prefixed_texts(call.layout, prefix[0].shape[1])
    rotary = texts.rotary(call.rotary)
    if texts.layout.max_seqlen <= PLAIN_UP_TO and not on_cuda(q) and call.dropout == 0:
        keys, values = texts.prepend(prefix[0], k), texts.prepend(prefix[1], v)
        return short_attention(q, keys, values, rotary, texts.layout, call.scale)
    if call.layout.num_queries < call.layout.tokens:
        return _general(q, k, v, call, prefix)
    # torch's fused kernel is causal only where every key has a query: the prefix gets queries of zeros.
    no_queries = q.new_zeros(q.shape[1], texts.length, q.shape[2])
    rows, keys, values = (texts.prepend(x, y) for x, y in zip((no_queries, *prefix), (q, k, v), strict=True))
    out = _general(rows, keys, values, call._replace(layout=texts.complete_layout, rotary=rotary), None)
    return texts.remove(out, len(q))


def _without_backward(q: Tensor, k: Tensor, v: Tensor, call: _Call, prefix: Prefix | None) -> Tensor:
    """Short texts in inference: with a cache, a window, or another mask than the causal one."""
    layout, heads, kv_heads = call.layout, q.shape[1], k.shape[1]
    qb = pad(q, layout, call.rotary, queries=True)
    kb, vb = pad(k, layout, call.rotary, queries=False), pad(v, layout, None, queries=False)
    kb, vb = call.with_cache(kb, vb)  # (texts, kv_heads, seqlen_k, head_dim)
    shared, before = _before_stem(prefix, call.stem(), kb.dtype), 0 if prefix is None else prefix[0].shape[1]
    scores = shared_keys.scores(qb.view(layout.texts * kv_heads, -1, q.shape[2]), kb, shared)
    seqlen_k = scores.shape[2] - before
    if layout.causal and call.window is None:
        weights = causal_softmax_(scores, layout, heads, call.scale, before)
    else:
        bias = behind_prefix(layout.bias(seqlen_k, call.window, q.dtype), before)
        weights = softmax_under(bias, scores, layout, heads, call.scale)
    return unpad(shared_keys.weighted_values(weights, vb, shared), len(q), heads, layout, None, queries=True)


def _general(q: Tensor, k: Tensor, v: Tensor, call: _Call, prefix: Prefix | None) -> Tensor:
    """All other cases, with autograd: torch's fused kernel, or products under an explicit mask."""
    layout, heads, kv_heads = call.layout, q.shape[1], k.shape[1]
    qb = _pad_any(q, layout, True)
    kb, vb = _pad_any(k, layout, False), _pad_any(v, layout, False)
    if call.rotary is not None:
        angles = block_angles(call.rotary, layout)
        qb, kb = rotate(qb, angles.q), rotate(kb, angles.k)
    kb, vb = call.with_cache(kb, vb)
    plain = layout.causal and layout.cache_is_empty and call.window is None and layout.num_queries == layout.tokens
    if plain and prefix is None:
        out = F.scaled_dot_product_attention(
            qb, kb, vb, is_causal=True, scale=call.scale, enable_gqa=heads != kv_heads, dropout_p=call.dropout
        )
    else:
        stem = call.stem()
        bias = layout.bias(sum(x.shape[1] for x, _ in stem) + kb.shape[2], call.window, q.dtype)
        bias = bias if prefix is None else behind_prefix(bias, prefix[0].shape[1])
        if prefix is not None and not stem:
            kb, vb = (_prepend(p, x) for p, x in zip(prefix, (kb, vb), strict=True))
        out = _masked(qb, kb, vb, bias, call, _before_stem(prefix, stem, kb.dtype) if stem else [])
    result: Tensor = _unpad_any(out, len(q), layout)
    return result


def _prepend(prefix: Tensor, x: Tensor) -> Tensor:
    """(kv_heads, prefix_length, head_dim) before (texts, kv_heads, seqlen_k, head_dim), the same for every text."""
    return torch.cat([prefix.to(x.dtype).expand(len(x), -1, -1, -1), x], dim=2)


def _before_stem(prefix: Prefix | None, stem: list[tuple[Tensor, Tensor]], dtype: torch.dtype) -> shared_keys.Shared:
    """Keys and values that all texts attend to: the learned prefix, then the stem."""
    return stem if prefix is None else [(prefix[0].to(dtype), prefix[1].to(dtype)), *stem]


def _masked(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, call: _Call, shared: shared_keys.Shared) -> Tensor:
    """dropout(softmax(q kᵀ scale + bias)) v over blocks (texts, heads, max_seqlen, head_dim), `shared` in front."""
    texts, heads, max_seqlen, dim = q.shape
    groups = texts * k.shape[1]
    # (texts·kv, group·max_seqlen, dim) x (texts·kv, dim, seqlen_k) -> (texts·kv, group·max_seqlen, seqlen_k)
    scores = shared_keys.scores(q.reshape(groups, -1, dim), k, shared)
    scores = torch.add(bias, scores.view(texts, heads, max_seqlen, -1), alpha=call.scale)
    weights = torch.softmax(scores, dim=-1).view(groups, -1, scores.shape[3])
    weights = F.dropout(weights, call.dropout) if call.dropout > 0 else weights
    return shared_keys.weighted_values(weights, v, shared).view(texts, heads, max_seqlen, -1)


class _PadAny(torch.autograd.Function):
    """Packed rows (rows, heads, head_dim) -> a padded block; the gradient of padding is dropped.

    (That gradient is exactly zero as long as attention is causal and the outputs of padded queries are dropped.)
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, layout: Layout, queries: bool) -> Tensor:
        ctx.rows, ctx.layout, ctx.queries = len(x), layout, queries
        return gather_padded(x, layout, queries=queries)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        return gather_rows(grad.flatten(1, 2), ctx.rows, grad.shape[1], ctx.layout, queries=ctx.queries), None, None


class _UnpadAny(torch.autograd.Function):
    """A padded block of outputs (texts, heads, max_seqlen_q, head_dim) -> packed rows; padded queries are dropped."""

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


_pad_any: Callable[..., Tensor] = _PadAny.apply
_unpad_any: Callable[..., Tensor] = _UnpadAny.apply
