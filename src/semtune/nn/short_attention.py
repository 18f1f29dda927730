"""Causal attention over a packed batch of short texts, as explicit matrix products with a hand-written backward.

On a CPU torch's fused kernel loses more time in its bfloat16 backward than it saves, and its matrix products of a few
dozen rows reach a fraction of the peak FLOP/s. For bf16 and fp32 on a CPU one compiled operator (`nn.kernels`) handles
one text and one kv head at a time, in fp32 within a core's cache. It saves only q, k and v; backward computes the
attention weights again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from semtune.nn import panels
from semtune.nn.kernels import attention_operators, supports
from semtune.nn.packed_batch import Layout
from semtune.nn.padding import (
    Rotary,
    causal_softmax_,
    fp32_angles,
    pad,
    softmax_backward,
    unpad,
)


def short_attention(q: Tensor, k: Tensor, v: Tensor, rotary: Rotary | None, layout: Layout, scale: float) -> Tensor:
    """softmax(q kᵀ scale) v for each text by itself, without cached tokens; `rotary` is applied to q and k.

    Args:
        q: (rows, heads, head_dim): the query tokens, and any number of padding rows behind them.
        k, v: (rows, kv_heads, head_dim): one row per token.

    Returns:
        (rows of q, heads, head_dim); zero in padding rows.
    """
    return _short_attention(q, k, v, rotary, layout, scale)


class _ShortAttention(torch.autograd.Function):
    """O = P V with P = softmax(scale Q Kᵀ), and its backward:

    dV = Pᵀ dO,  dP = dO Vᵀ,  dS = scale P ⊙ (dP - sum over keys of P ⊙ dP),  dQ = dS K,  dK = dSᵀ Q.

    The query heads of one kv head form one matrix, so keys are never repeated. Saved for backward: the padded blocks
    and P, or only q, k and v where the compiled operator runs.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, rotary: Rotary | None, layout: Layout, scale: float
    ) -> Tensor:
        ctx.rotary, ctx.layout, ctx.scale = rotary, layout, scale
        ctx.rows, ctx.heads = (len(q), len(k)), (q.shape[1], k.shape[1])
        ctx.compiled = supports(q, k, v) and k.shape == v.shape
        if ctx.compiled:
            ctx.save_for_backward(q, k, v)
            attn_output: Tensor = attention_operators.short_attention(q, k, v, *_positions(rotary, layout, scale))
            return attn_output
        heads, kv_heads = ctx.heads
        groups = layout.texts * kv_heads
        # (texts·kv, group·max_seqlen_q, dim), and (texts·kv, max_seqlen, dim)
        qb = pad(q, layout, rotary, queries=True).view(groups, -1, q.shape[2])
        kb = pad(k, layout, rotary, queries=False).view(groups, -1, k.shape[2])
        vb = pad(v, layout, None, queries=False).view(groups, -1, v.shape[2])
        weights = causal_softmax_(panels.bmm(qb, kb.transpose(1, 2)), layout, heads, scale)
        ctx.save_for_backward(qb, kb, vb, weights)
        return unpad(panels.bmm(weights, vb), len(q), heads, layout, None, queries=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        needs = ctx.needs_input_grad[:3]
        gradients = _compiled_backward if ctx.compiled else _backward
        return (*gradients(ctx, grad_out.contiguous(), *needs), None, None, None)


def _compiled_backward(
    ctx: Any, grad_out: Tensor, needs_q: bool, needs_k: bool, needs_v: bool
) -> tuple[Tensor | None, ...]:
    q, k, v = ctx.saved_tensors
    positions = _positions(ctx.rotary, ctx.layout, ctx.scale)
    grads: tuple[Tensor | None, ...] = attention_operators.short_attention_backward(
        q, k, v, grad_out, [needs_q, needs_k, needs_v], *positions
    )
    return grads


def _backward(ctx: Any, grad_out: Tensor, needs_q: bool, needs_k: bool, needs_v: bool) -> tuple[Tensor | None, ...]:
    qb, kb, vb, weights = ctx.saved_tensors
    rotary, layout = ctx.rotary, ctx.layout
    (query_rows, key_rows), (heads, kv_heads) = ctx.rows, ctx.heads
    # The gradient of padded queries is zero, so they add nothing to the gradients of keys and values.
    grad = pad(grad_out, layout, None, queries=True).view(*weights.shape[:2], -1)
    grad_q = grad_k = grad_v = None
    if needs_v:
        grad_block = panels.bmm(weights.transpose(1, 2), grad)
        grad_v = unpad(grad_block, key_rows, kv_heads, layout, None, queries=False)
    if needs_q or needs_k:
        grad_scores = softmax_backward(weights, panels.bmm(grad, vb.transpose(1, 2)), ctx.scale)
    if needs_q:
        grad_q = unpad(panels.bmm(grad_scores, kb), query_rows, heads, layout, rotary, queries=True)
    if needs_k:
        grad_block = panels.bmm(grad_scores.transpose(1, 2), qb)
        grad_k = unpad(grad_block, key_rows, kv_heads, layout, rotary, queries=False)
    return grad_q, grad_k, grad_v


_short_attention: Callable[..., Tensor] = _ShortAttention.apply


def _positions(rotary: Rotary | None, layout: Layout, scale: float) -> tuple[Tensor | int | float | None, ...]:
    """The operators' last arguments: offsets, counts and positions, rotary angles, scale, sequence lengths."""
    query_offsets, query_counts, query_positions = layout.row_ranges(queries=True)
    key_offsets, key_counts, _ = layout.row_ranges(queries=False)
    angles = (None, None) if rotary is None else fp32_angles(rotary, layout)
    indices = (query_offsets, query_counts, query_positions, key_offsets, key_counts)
    return (*indices, *angles, scale, layout.max_seqlen_q, layout.max_seqlen)
