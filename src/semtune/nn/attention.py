"""Causal attention over unpadded texts laid end to end, each text by itself, with rotary embeddings.

Queries, keys and values are put into padded blocks, rotated there, and what comes out is laid end to end again (see
`ragged`). For short texts the products are written out, with a backward by hand: on CPU the fused kernel's backward in
bfloat16 costs more than it saves. Long texts, and all on a GPU, go to torch's fused kernel.

Rotary embeddings: Su et al. 2021, arXiv:2104.09864, in the half-split form of the Llama family,
    rotate(x)_t = (x₁ cos - x₂ sin, x₂ cos + x₁ sin),  x₁, x₂ the halves of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from semtune.nn.ragged import Layout, Ragged

PLAIN_UP_TO = 256
"""Longest text (tokens) for which attention is written out; longer ones go to the fused kernel."""


class Rotary(NamedTuple):
    """cos and sin of each position's angles, (positions, head_dim / 2) each, from position 0."""

    cos: Tensor
    sin: Tensor


def ragged_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    ragged: Ragged,
    *,
    layer: int,
    scale: float,
    window: int | None = None,
    rotary: Rotary | None = None,
    queries: tuple[int, ...] | None = None,
) -> Tensor:
    """Causal attention, each text by itself.

    Args:
        q: (rows, heads, head_dim): a row a token that asks, and any number of filler rows behind them.
        k, v: (rows, kv_heads, head_dim): a row a token; heads is a multiple of kv_heads.
        ragged: how tokens divide into texts, and the cache if there is one.
        layer: index of the layer, for the cache.
        scale: factor on the scores, 1/sqrt(head_dim) as a rule.
        window: sliding window in tokens, None for full attention.
        rotary: applied to queries and keys; None: they are rotated already, or the layer does not rotate.
        queries: places of the tokens that ask, ascending; None: all tokens do.

    Returns:
        (rows of q, heads, head_dim); zero in filler rows.
    """
    layout = ragged.layout(q.device, queries)
    turns = None if rotary is None else _turns(rotary, layout)
    reach = layout.longest + (0 if layout.fresh else max(layout.starts))
    windowed = window is not None and reach > window
    if ragged.cache is None and not windowed and layout.longest <= PLAIN_UP_TO and not q.is_cuda:
        return _plain(q, k, v, turns, layout, scale)
    return _general(q, k, v, turns, ragged, layout, layer, scale, window)


class _Turns(NamedTuple):
    """cos and sin for blocks of queries and of keys, each (texts or 1, 1, longest, head_dim / 2)."""

    q: tuple[Tensor, Tensor]
    k: tuple[Tensor, Tensor]


def rotate(x: Tensor, turn: tuple[Tensor, Tensor], sign: int = 1) -> Tensor:
    """x (texts, heads, longest, head_dim) turned by its positions' angles; `sign` -1 turns back."""
    cos, sin = turn
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    if torch.is_grad_enabled() and x.requires_grad:
        return torch.cat([first * cos - second * (sign * sin), second * cos + first * (sign * sin)], dim=-1)
    out = torch.empty_like(x)
    torch.mul(first, cos, out=out[..., :half]).addcmul_(second, sin, value=-sign)
    torch.mul(second, cos, out=out[..., half:]).addcmul_(first, sin, value=sign)
    return out


class _Plain(torch.autograd.Function):
    """softmax(q kᵀ scale) v, with P the softmax:

    dV = Pᵀ dO,  dP = dO Vᵀ,  dS = P ⊙ (dP - sum over keys of P ⊙ dP),  dQ = scale dS K,  dK = scale dSᵀ Q.

    Query heads of one kv head are taken together, so keys are never repeated. Kept: the blocks and P.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, turns: _Turns | None, layout: Layout, scale: float
    ) -> Tensor:
        heads, kv_heads, dim = q.shape[1], k.shape[1], q.shape[2]
        qb = _block(q, layout, queries=True)  # (texts, heads, longest_query, head_dim)
        kb, vb = _block(k, layout, queries=False), _block(v, layout, queries=False)
        if turns is not None:
            qb, kb = rotate(qb, turns.q), rotate(kb, turns.k)
        groups = layout.texts * kv_heads
        qb, kb, vb = qb.view(groups, -1, dim), kb.view(groups, -1, dim), vb.view(groups, -1, v.shape[2])
        scores = torch.bmm(qb, kb.transpose(1, 2))  # (texts·kv, group·longest_query, longest)
        by_text = scores.view(layout.texts, heads, layout.longest_query, layout.longest)
        torch.add(layout.bias(layout.longest, None, q.dtype), by_text, alpha=scale, out=by_text)
        weights = torch.softmax(scores, dim=-1)
        out = torch.bmm(weights, vb)
        ctx.save_for_backward(qb, kb, vb, weights)
        ctx.turns, ctx.layout, ctx.scale, ctx.rows, ctx.heads = (
            turns,
            layout,
            scale,
            (len(q), len(k)),
            (heads, kv_heads),
        )
        return _unblock(out, len(q), heads, layout, queries=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        qb, kb, vb, weights = ctx.saved_tensors
        turns, layout, scale = ctx.turns, ctx.layout, ctx.scale
        heads, kv_heads = ctx.heads
        grad = _block(grad_out, layout, queries=True).view(*weights.shape[:2], -1)
        padded = layout.padded_queries(heads)
        if padded is not None:  # stand-ins: their gradient is nobody's
            grad.view(-1, grad.shape[-1]).index_fill_(0, padded, 0.0)
        needs_q, needs_k, needs_v = ctx.needs_input_grad[:3]
        grad_q = grad_k = grad_v = None
        if needs_v:
            grad_v = _unblock(weights.transpose(1, 2).bmm(grad), ctx.rows[1], kv_heads, layout, queries=False)
        if not (needs_q or needs_k):
            return None, None, grad_v, None, None, None
        grad_weights = torch.bmm(grad, vb.transpose(1, 2))
        grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
        if needs_q:
            grad_q = torch.bmm(grad_scores, kb).mul_(scale)
            grad_q = _unrotate(grad_q, heads, layout, turns.q if turns else None)
            grad_q = _unblock(grad_q, ctx.rows[0], heads, layout, queries=True)
        if needs_k:
            grad_k = torch.bmm(grad_scores.transpose(1, 2), qb).mul_(scale)
            grad_k = _unrotate(grad_k, kv_heads, layout, turns.k if turns else None)
            grad_k = _unblock(grad_k, ctx.rows[1], kv_heads, layout, queries=False)
        return grad_q, grad_k, grad_v, None, None, None


_plain: Callable[..., Tensor] = _Plain.apply


def _general(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    turns: _Turns | None,
    ragged: Ragged,
    layout: Layout,
    layer: int,
    scale: float,
    window: int | None,
) -> Tensor:
    """What is not short and fresh: long texts, a sliding window, a cache; torch's fused kernel, or under a mask."""
    heads, kv_heads = q.shape[1], k.shape[1]
    qb = _pick(q, layout, True)
    kb, vb = _pick(k, layout, False), _pick(v, layout, False)
    if turns is not None:
        qb, kb = rotate(qb, turns.q), rotate(kb, turns.k)
    if ragged.cache is not None:
        kb, vb = ragged.cache.extend(layer, kb, vb, ragged.lengths)
    reach = kb.shape[2]
    windowed = window is not None and reach > window
    if layout.fresh and not windowed and layout.asking == layout.tokens:
        out = F.scaled_dot_product_attention(qb, kb, vb, is_causal=True, scale=scale, enable_gqa=heads != kv_heads)
    else:
        out = _masked(qb, kb, vb, layout.bias(reach, window if windowed else None, q.dtype), scale)
    result: Tensor = _unpick(out, len(q), layout)
    return result


def _masked(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
    """softmax(q kᵀ scale + bias) v over blocks (texts, heads, longest, head_dim)."""
    texts, heads, longest, dim = q.shape
    groups = texts * k.shape[1]
    scores = torch.bmm(q.reshape(groups, -1, dim), k.flatten(0, 1).transpose(1, 2))  # (texts·kv, group·longest, reach)
    scores = torch.add(bias, scores.view(texts, heads, longest, -1), alpha=scale)
    weights = torch.softmax(scores, dim=-1).view(groups, -1, k.shape[2])
    return torch.bmm(weights, v.flatten(0, 1)).view(texts, heads, longest, -1)


class _Pick(torch.autograd.Function):
    """Rows (rows, heads, head_dim) into a padded block; the gradient of padded places is dropped.

    (That gradient is exactly zero as long as attention is causal and padded queries' answers are dropped.)
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, layout: Layout, queries: bool) -> Tensor:
        ctx.rows, ctx.layout, ctx.queries = len(x), layout, queries
        return _block(x, layout, queries=queries)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        return _unblock(grad.flatten(1, 2), ctx.rows, grad.shape[1], ctx.layout, queries=ctx.queries), None, None


class _Unpick(torch.autograd.Function):
    """The block of answers (texts, heads, longest_query, head_dim) back into rows; padded answers are dropped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: int, layout: Layout) -> Tensor:
        ctx.layout = layout
        return _unblock(x.flatten(1, 2), rows, x.shape[1], layout, queries=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        block = _block(grads[0], ctx.layout, queries=True)
        padded = ctx.layout.padded_queries(block.shape[1])
        if padded is not None:
            block.view(-1, block.shape[-1]).index_fill_(0, padded, 0.0)
        return block, None, None


_pick: Callable[..., Tensor] = _Pick.apply
_unpick: Callable[..., Tensor] = _Unpick.apply


def _block(x: Tensor, layout: Layout, *, queries: bool) -> Tensor:
    """(rows, heads, head_dim) -> (texts, heads, longest, head_dim), right-padded; a copy."""
    heads, dim = x.shape[1:]
    rows = x.reshape(-1, dim).index_select(0, layout.into_block(heads, queries=queries))
    return rows.view(layout.texts, heads, -1, dim)


def _unblock(x: Tensor, rows: int, heads: int, layout: Layout, *, queries: bool) -> Tensor:
    """A block in the order (texts, heads, longest), head_dim last -> (rows, heads, head_dim); filler rows are zero."""
    index = layout.from_block(heads, queries=queries)
    flat = x.reshape(-1, x.shape[-1])
    out = torch.empty(rows * heads, x.shape[-1], dtype=x.dtype, device=x.device)
    torch.index_select(flat, 0, index, out=out[: len(index)])
    out[len(index) :].zero_()
    return out.view(rows, heads, -1)


def _unrotate(grad: Tensor, heads: int, layout: Layout, turn: tuple[Tensor, Tensor] | None) -> Tensor:
    if turn is None:
        return grad
    return rotate(grad.view(layout.texts, heads, -1, grad.shape[-1]), turn, sign=-1)


def _turns(rotary: Rotary, layout: Layout) -> _Turns:
    """The angles of each place in the blocks."""
    turns = layout.turns.get(id(rotary.cos))
    if not isinstance(turns, _Turns):
        at_q, at_k = layout.query_positions(), layout.key_positions()
        q = (rotary.cos[at_q].unsqueeze(1), rotary.sin[at_q].unsqueeze(1))
        turns = _Turns(q, (rotary.cos[at_k].unsqueeze(1), rotary.sin[at_k].unsqueeze(1)))
        layout.turns[id(rotary.cos)] = turns
    return turns
