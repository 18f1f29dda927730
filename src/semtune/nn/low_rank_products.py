"""The products of a low-rank adapter beside its base's: y += s B A drop(x), and what they give in backward.

In bf16 on a CPU each direction is one compiled loop (`nn.kernels`): with a rank of 8 these products are passes over
memory, and a call of the matrix library for each costs more than its work. Inside, all is then fp32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semtune.nn import kernels
from semtune.nn.dropout import Keep, add_kept_, dropped

_LARGEST_RANK = 32
"""Of the compiled loop; above it the matrix library's bf16 products are worth their calls."""
_LANES = 16


class Adapter(NamedTuple):
    """A (r, in) and B (out, r), the factor s of their product, and which elements of the input are kept (None: all)."""

    a: Tensor
    b: Tensor
    scale: float
    keep: Keep | None


def add_low_rank_(y: Tensor, rows: Tensor, adapter: Adapter) -> Tensor:
    """y (tokens, out) += s B A drop(x) in place, for rows x (tokens, in); returns what the backward needs of it."""
    a, b, scale, keep = adapter
    if _compiled(y, rows, adapter):
        # A row more than there are, as the loop reads whole groups of columns.
        inner = torch.empty(len(rows) + 1, _padded(len(a)), dtype=torch.float32)
        kernels.call("low_rank", rows, a, b, y, inner, _scratch(adapter), scale, *_sizes(rows, adapter))
        return inner
    a_low, b_low = a.to(rows.dtype), b.to(rows.dtype)
    inner = (rows if keep is None else dropped(rows, keep)) @ a_low.t()  # (tokens, in) x (in, r) -> (tokens, r)
    y.addmm_(inner, b_low.t(), alpha=scale)  # + (tokens, r) x (r, out)
    return inner


def low_rank_gradients(
    grad_y: Tensor, rows: Tensor, inner: Tensor, adapter: Adapter, grad_x: Tensor | None, needs_a: bool, needs_b: bool
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of A and B in their own dtype, where needed; the adapter's part of x's is added to `grad_x`.

    Args:
        grad_y: (tokens, out).
        rows: x, (tokens, in).
        inner: from `add_low_rank_`.
        grad_x: (tokens, in), or None where nothing below wants a gradient.
    """
    a, b, scale, keep = adapter
    grad_a = grad_b = None
    if inner.dtype != rows.dtype:  # the compiled loop's
        grad_a, grad_b = torch.empty_like(a) if needs_a else None, torch.empty_like(b) if needs_b else None
        outputs = (grad_x, grad_a, grad_b, _scratch(adapter))
        sizes = _sizes(rows, adapter)
        kernels.call("low_rank_backward", rows, a, b, grad_y.contiguous(), inner, *outputs, scale, *sizes)
        return grad_a, grad_b
    if needs_b:
        grad_b = (grad_y.t() @ inner).to(b.dtype).mul_(scale)  # (out, tokens) x (tokens, r) -> (out, r)
    if not needs_a and grad_x is None:
        return None, grad_b
    grad_inner = (grad_y @ b.to(grad_y.dtype)).mul_(scale)  # (tokens, out) x (out, r) -> (tokens, r)
    if needs_a:
        seen = rows if keep is None else dropped(rows, keep)
        grad_a = (grad_inner.t() @ seen).to(a.dtype)  # (r, tokens) x (tokens, in) -> (r, in)
    if grad_x is not None and keep is None:
        grad_x.addmm_(grad_inner, a.to(grad_x.dtype))  # + (tokens, r) x (r, in)
    elif grad_x is not None and keep is not None:
        add_kept_(grad_x, grad_inner @ a.to(grad_x.dtype), keep)
    return grad_a, grad_b


def _compiled(y: Tensor, rows: Tensor, adapter: Adapter) -> bool:
    a, b = adapter.a, adapter.b
    wide = all(x.dtype == torch.float32 and x.is_contiguous() for x in (a, b))
    whole = rows.shape[1] % _LANES == 0 and y.shape[1] % _LANES == 0
    return kernels.takes(y, rows) and wide and whole and len(a) <= _LARGEST_RANK


def _padded(rank: int) -> int:
    return -(-rank // _LANES) * _LANES


def _sizes(rows: Tensor, adapter: Adapter) -> tuple[int, ...]:
    """The kernels' last arguments: the mask, and how large all is."""
    a, b, _, keep = adapter
    seed, threshold = (0, 0) if keep is None else keep
    return (seed, threshold, *rows.shape, len(b), len(a), _padded(len(a)))


def _scratch(adapter: Adapter) -> Tensor:
    """As kernels/low_rank.c divides it: A and B turned over, then each thread's own (`own_of`)."""
    (rank, inputs), outputs = adapter.a.shape, len(adapter.b)
    padded, block, sixes = _padded(rank), 48, -(-rank // 6) * 6
    own = block * (inputs + outputs + padded) + 6 * max(inputs, outputs) + sixes * (inputs + outputs)
    own += block * inputs // 2  # the mask, 16 bits an element
    return torch.empty(padded * (inputs + outputs) + torch.get_num_threads() * own, dtype=torch.float32)
