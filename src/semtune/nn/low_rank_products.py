"""The matrix products of a low-rank adapter, y += s B A drop(x), and their gradients.

For bf16 and fp32 on a CPU forward and backward are one compiled operator each (`nn.kernels`), which computes in fp32:
at a rank of 8 memory bandwidth bounds these products, and the overhead of a library call for each exceeds its work.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semtune.nn import panels
from semtune.nn.dropout import DropoutMask, add_masked_, apply_mask
from semtune.nn.kernels import supports, training_operators
from semtune.nn.kernels.training_operators import LANES

_MAX_COMPILED_RANK = 32
"""Largest rank of the compiled operator; above it matmuls of the library are faster."""


class Adapter(NamedTuple):
    """A (r, in) and B (out, r), the factor s on B A, and the dropout mask of the input (None: no dropout)."""

    a: Tensor
    b: Tensor
    scale: float
    mask: DropoutMask | None


def add_low_rank_(y: Tensor, rows: Tensor, adapter: Adapter) -> Tensor:
    """y (tokens, out) += s B A drop(x) in place, for rows x (tokens, in); returns A drop(x), which backward needs."""
    a, b, scale, mask = adapter
    if _compiled(y, rows, adapter):
        fp32_inner: Tensor = training_operators.add_low_rank_(rows, a, b, y, scale, *_seed_and_threshold(mask))
        return fp32_inner
    a_low, b_low = a.to(rows.dtype), b.to(rows.dtype)
    inner = panels.linear(rows if mask is None else apply_mask(rows, mask), a_low)  # (tokens, in) -> (tokens, r)
    if panels.converts(b_low, inner):
        y.add_(panels.linear(inner, b_low), alpha=scale)
    else:
        y.addmm_(inner, b_low.t(), alpha=scale)  # + (tokens, r) x (r, out)
    return inner


def low_rank_gradients(
    grad_y: Tensor,
    rows: Tensor | None,
    inner: Tensor,
    adapter: Adapter,
    grad_x: Tensor | None,
    needs_a: bool,
    needs_b: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of A and B in their own dtype, where needed; `grad_x` += the adapter's part of x's gradient.

    Args:
        grad_y: (tokens, out).
        rows: x, (tokens, in); None is enough where A needs no gradient.
        inner: from `add_low_rank_`.
        grad_x: (tokens, in), or None where x needs no gradient.
    """
    a, b, scale, mask = adapter
    grad_a = grad_b = None
    if len(inner) > len(grad_y):  # from the compiled operator, whose result has a row more
        if rows is None:  # the loop reads only its shape and dtype then
            rows = grad_y.new_empty(1).expand(len(grad_y), a.shape[1]) if grad_x is None else grad_x
        numbers = (scale, *_seed_and_threshold(mask), [needs_a, needs_b])
        grad_a, grad_b = training_operators.low_rank_backward_(rows, a, b, grad_y.contiguous(), inner, grad_x, *numbers)
        return grad_a, grad_b
    if needs_b:
        grad_b = panels.grad_weight(grad_y, inner).to(b.dtype).mul_(scale)  # (out, tokens) x (tokens, r) -> (out, r)
    if not needs_a and grad_x is None:
        return None, grad_b
    grad_inner = panels.grad_input(grad_y, b.to(grad_y.dtype)).mul_(scale)  # (tokens, out) x (out, r) -> (tokens, r)
    if needs_a:
        assert rows is not None
        dropped = rows if mask is None else apply_mask(rows, mask)
        grad_a = panels.grad_weight(grad_inner, dropped).to(a.dtype)  # (r, tokens) x (tokens, in) -> (r, in)
    if grad_x is not None and mask is None and not panels.converts(grad_inner, grad_x):
        grad_x.addmm_(grad_inner, a.to(grad_x.dtype))  # + (tokens, r) x (r, in)
    elif grad_x is not None:
        product = panels.grad_input(grad_inner, a.to(grad_x.dtype))
        grad_x.add_(product) if mask is None else add_masked_(grad_x, product, mask)
    return grad_a, grad_b


def _compiled(y: Tensor, rows: Tensor, adapter: Adapter) -> bool:
    a, b = adapter.a, adapter.b
    fp32 = all(x.dtype == torch.float32 and x.is_contiguous() for x in (a, b))
    aligned = rows.shape[1] % LANES == 0 and y.shape[1] % LANES == 0
    return supports(y, rows) and fp32 and aligned and len(a) <= _MAX_COMPILED_RANK


def _seed_and_threshold(mask: DropoutMask | None) -> tuple[int, int]:
    """The operators' mask arguments; a threshold of 0 drops nothing."""
    return (0, 0) if mask is None else mask.signed()
