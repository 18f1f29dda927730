"""Steps around the two matrix products of attention: padding, unpadding, rotary embeddings, softmax.

For bf16 and fp32 on a CPU each is one compiled loop (`nn.kernels`), elsewhere torch operations.

Rotary embeddings: Su et al. 2021, arXiv:2104.09864, in the half-split form of Llama,
    rotate(x)_t = (x₁ cos - x₂ sin, x₂ cos + x₁ sin),  x₁, x₂ the halves of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from semtune.nn.kernels import attention_operators, supports
from semtune.nn.packed_batch import Layout


class Rotary(NamedTuple):
    """cos and sin of each position's angles, (positions, head_dim / 2) each, from position 0."""

    cos: Tensor
    sin: Tensor


class BlockAngles(NamedTuple):
    """cos and sin for blocks of queries and of keys, each (texts or 1, 1, max_seqlen, head_dim / 2)."""

    q: tuple[Tensor, Tensor]
    k: tuple[Tensor, Tensor]


def rotate(x: Tensor, angles: tuple[Tensor, Tensor], sign: int = 1) -> Tensor:
    """x (texts, heads, max_seqlen, head_dim) rotated by its positions' angles; `sign` -1 rotates back."""
    if torch.is_grad_enabled() and x.requires_grad:
        return _rotate(x, *angles, sign)
    return _rotated(x, *angles, sign)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    out = torch.empty_like(x)
    torch.mul(first, cos, out=out[..., :half]).addcmul_(second, sin, value=-sign)
    torch.mul(second, cos, out=out[..., half:]).addcmul_(first, sin, value=sign)
    return out


class _Rotate(torch.autograd.Function):
    """`rotate` as one node of the graph: the gradient is rotated back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.sign = sign
        return _rotated(x, cos, sin, sign)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotated(grad.contiguous(), cos, sin, -ctx.sign), None, None, None


_rotate: Callable[..., Tensor] = _Rotate.apply


def gather_padded(x: Tensor, layout: Layout, *, queries: bool) -> Tensor:
    """(rows, heads, head_dim) -> (texts, heads, max_seqlen, head_dim), right-padded; a copy."""
    heads, dim = x.shape[1:]
    rows = x.reshape(-1, dim).index_select(0, layout.pad_index(heads, queries=queries))
    return rows.view(layout.texts, heads, -1, dim)


def gather_rows(x: Tensor, rows: int, heads: int, layout: Layout, *, queries: bool) -> Tensor:
    """(texts, heads, max_seqlen, head_dim), contiguous -> (rows, heads, head_dim); padding rows are zero."""
    index = layout.unpad_index(heads, queries=queries)
    flat = x.reshape(-1, x.shape[-1])
    out = torch.empty(rows * heads, x.shape[-1], dtype=x.dtype, device=x.device)
    torch.index_select(flat, 0, index, out=out[: len(index)])
    out[len(index) :].zero_()
    return out.view(rows, heads, -1)


def pad(x: Tensor, layout: Layout, rotary: Rotary | None, *, queries: bool) -> Tensor:
    """(rows, heads, head_dim) -> (texts, heads, max_seqlen, head_dim), rotated if `rotary` is given; padding is 0."""
    if supports(x):
        max_seqlen = layout.max_seqlen_q if queries else layout.max_seqlen
        angles = (None, None) if rotary is None else fp32_angles(rotary, layout)
        padded_rows: Tensor = attention_operators.pad(x, *layout.row_ranges(queries=queries), *angles, max_seqlen)
        return padded_rows
    block = gather_padded(x, layout, queries=queries)
    padded = layout.padded(x.shape[1], queries=queries)
    if padded is not None:
        block.view(-1, block.shape[-1]).index_fill_(0, padded, 0.0)
    return block if rotary is None else rotate(block, block_angles(rotary, layout)[0 if queries else 1])


def unpad(x: Tensor, rows: int, heads: int, layout: Layout, rotary: Rotary | None, *, queries: bool) -> Tensor:
    """A block (texts, heads, max_seqlen, head_dim) of any shape -> (rows, heads, head_dim); padding rows are zero.

    It is rotated back if `rotary` is given.
    """
    if supports(x):
        max_seqlen, filled = (
            (layout.max_seqlen_q, layout.num_queries) if queries else (layout.max_seqlen, layout.tokens)
        )
        angles = (None, None) if rotary is None else fp32_angles(rotary, layout)
        sizes = (heads, max_seqlen, filled, rows)
        flat: Tensor = attention_operators.unpad(x, *layout.row_ranges(queries=queries), *angles, *sizes)
        return flat
    if rotary is not None:
        block = block_angles(rotary, layout)[0 if queries else 1]
        x = rotate(x.view(layout.texts, heads, -1, x.shape[-1]), block, sign=-1)
    return gather_rows(x, rows, heads, layout, queries=queries)


def causal_softmax_(scores: Tensor, layout: Layout, heads: int, scale: float, before: int = 0) -> Tensor:
    """Scores (texts · kv_heads, group · max_seqlen_q, before + seqlen_k) -> softmax over the visible keys, in place.

    The first `before` keys are a prefix, which every query attends to. Keys after a query have weight 0. Rows of
    padded queries are undefined.
    """
    if supports(scores):
        _, counts, positions = layout.row_ranges(queries=True)
        positions = positions + before if before else positions
        attention_operators.causal_softmax_(scores, counts, positions, scale, heads, layout.max_seqlen_q)
        return scores
    bias = layout.bias(scores.shape[-1] - before, None, scores.dtype)
    return softmax_under(behind_prefix(bias, before), scores, layout, heads, scale)


def behind_prefix(bias: Tensor, length: int) -> Tensor:
    """`bias` (texts or 1, 1, queries, keys) for keys with a prefix in front that every query attends to."""
    return F.pad(bias, (length, 0)) if length else bias  # 0: visible


def softmax_under(bias: Tensor, scores: Tensor, layout: Layout, heads: int, scale: float) -> Tensor:
    """softmax(scale · scores + bias); scores (texts · kv_heads, group · max_seqlen_q, seqlen_k) are overwritten."""
    by_text = scores.view(layout.texts, heads, layout.max_seqlen_q, -1)
    torch.add(bias, by_text, alpha=scale, out=by_text)
    return torch.softmax(scores, dim=-1)


def softmax_backward(weights: Tensor, grad: Tensor, scale: float) -> Tensor:
    """Gradient of the attention weights -> gradient of the unscaled scores; both (groups, queries, keys)."""
    return torch._softmax_backward_data(grad, weights, -1, weights.dtype).mul_(scale)


def fp32_angles(rotary: Rotary, layout: Layout) -> tuple[Tensor, Tensor]:
    """cos and sin in fp32, computed once per forward."""
    key = ("fp32", id(rotary.cos))
    if key not in layout.angles:
        layout.angles[key] = (rotary.cos.float().contiguous(), rotary.sin.float().contiguous())
    return layout.angles[key]  # type: ignore[return-value]


def block_angles(rotary: Rotary, layout: Layout) -> BlockAngles:
    """cos and sin for every row of the padded blocks, computed once per forward."""
    found = layout.angles.get(id(rotary.cos))
    if not isinstance(found, BlockAngles):
        at_q, at_k = layout.query_positions(), layout.key_positions()
        q = (rotary.cos[at_q].unsqueeze(1), rotary.sin[at_q].unsqueeze(1))
        found = BlockAngles(q, (rotary.cos[at_k].unsqueeze(1), rotary.sin[at_k].unsqueeze(1)))
        layout.angles[id(rotary.cos)] = found
    return found
