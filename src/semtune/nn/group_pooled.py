"""QA-LoRA: a low-rank adapter on group-wise summed inputs, beside a group-quantised weight that it merges into exactly.

    y = W x + b + s B A drop(pool(x)),    pool(x)_g = Σ x_j over the L inputs j of group g,    s = alpha / r

(Xu et al. 2023, arXiv:2309.14717, algorithm 1.) W (out, in) is frozen in 4 bits with one scale and one zero point per
row and group (`nn.int4`); A (r, groups) and B (out, r) are trained. All weights of a row and group change by the same
number s (B A)_ig, so the merged weight has the same codes and scales and other zero points. It is LoRA whose A has
equal columns within a group.

Three scalings of the pooled input are in circulation. This is the paper's; the others differ by a constant factor:

- the sum (algorithm 1: an average pooling times the group size): used here;
- the mean (the authors' code, github.com/yuhuixu1993/qa-lora: `peft_utils.py`, and `merge.py` divides by the group
  size): the sum / L, that is alpha / L here;
- the mean times the number of groups (PEFT's `use_qalora`): the sum · in / L², a factor that differs among layers.

Two choices beside it:

- A is uniform in ±1/√in, not ±1/√groups: the sum of L inputs has L times the variance of one, so that A pool(x)
  begins with the variance of LoRA's A x, and LoRA's learning rates fit. (The authors' code: Xavier, over a mean.)
- Dropout acts on the pooled input, as in the authors' code; PEFT drops elements of x.

Saved for backward: pool(x) (tokens, groups) and A drop(pool(x)) (tokens, r), but not x.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from semtune.nn.dropout import DropoutMask, draw_mask
from semtune.nn.linear import Int4Linear, adapter_dtype
from semtune.nn.linear.frozen import bias_gradient
from semtune.nn.low_rank_products import Adapter, add_low_rank_, low_rank_gradients


class GroupPooledLinear(nn.Module):
    """A frozen INT4 layer with a low-rank adapter on group-wise sums of its input.

    B is 0 at first, so the output is bitwise equal to the base layer's. Parameters are fp32, or fp64 over an fp64 base:
    `lora_A` (rank, groups), `lora_B` (out, rank).

    Args:
        base: the layer to wrap; its parameters are frozen here. The bias may be made trainable afterwards.
        rank: r, at least 1; what is above min(groups, out) adds nothing that can be learned.
        alpha: B A is scaled by alpha / rank.
        dropout: probability, in [0, 1), that an element of the pooled input is dropped while training; rounded to a
            multiple of 1/65536.
    """

    def __init__(self, base: Int4Linear, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.in_features, self.out_features, self.groups = base.in_features, base.out_features, base.groups
        self.rank, self.scale, self.dropout = rank, alpha / rank, dropout
        dtype = adapter_dtype(base.compute_dtype)
        # Drawn on the CPU: the same seed then gives the same adapter on every device.
        bound = 1 / math.sqrt(base.in_features)
        a = torch.empty(rank, base.groups, dtype=dtype).uniform_(-bound, bound)
        self.lora_A = nn.Parameter(a.to(base.device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, dtype=dtype, device=base.device))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in x's dtype."""
        bias = None if self.base.bias is None else self.base.bias.to(x.dtype)
        mask = draw_mask(self.dropout) if self.training and self.dropout > 0 else None
        scale = self.scale if mask is None else self.scale / mask.keep_probability
        return _group_pooled(x, self.lora_A, self.lora_B, self.base, bias, scale, mask)

    @torch.no_grad()
    def delta(self) -> Tensor:
        """What the adapter adds to every weight of a group: s B A, (out, groups)."""
        return self.scale * (self.lora_B @ self.lora_A)

    def merged(self) -> Int4Linear:
        """The base layer with `delta` added to its weight, still in 4 bits, which replaces this module."""
        self.base.add_to_groups(self.delta())
        return self.base

    def extra_repr(self) -> str:
        return f"rank={self.rank}, scale={self.scale:g}, dropout={self.dropout:g}, groups={self.groups}"


def sum_groups(rows: Tensor, group_size: int) -> Tensor:
    """Sums over consecutive elements: (n, in) -> (n, ⌈in / group_size⌉); the last group may be partial."""
    missing = -rows.shape[1] % group_size
    whole = F.pad(rows, (0, missing)) if missing else rows
    return whole.reshape(len(rows), -1, group_size).sum(dim=2)


def add_to_groups_(rows: Tensor, sums: Tensor, group_size: int) -> None:
    """The gradient of `sum_groups`: rows (n, in) += sums (n, groups), each for all elements of its group."""
    if rows.shape[1] % group_size == 0:
        rows.view(len(rows), -1, group_size).add_(sums.unsqueeze(2))
    else:
        rows.add_(sums.repeat_interleave(group_size, dim=1)[:, : rows.shape[1]])


class _GroupPooled(torch.autograd.Function):
    """y = W x + b + scale · B A (mask ⊙ pool(x)); x (..., in) -> y (..., out). Gradients for x, A, B and b."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        a: Tensor,
        b: Tensor,
        layer: Int4Linear,
        bias: Tensor | None,
        scale: float,
        mask: DropoutMask | None,
    ) -> Tensor:
        y = layer.matmul(x, bias)  # (..., in) x (in, out) -> (..., out), as the base layer alone would
        pooled = sum_groups(x.reshape(-1, x.shape[-1]), layer.group_size)  # (tokens, in) -> (tokens, groups)
        inner = add_low_rank_(y.view(-1, b.shape[0]), pooled, Adapter(a, b, scale, mask))
        ctx.save_for_backward(pooled, a, b, inner)
        ctx.layer, ctx.scale, ctx.mask, ctx.shape = layer, scale, mask, x.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        pooled, a, b, inner = ctx.saved_tensors
        needs_x, needs_a, needs_b, _, needs_bias = ctx.needs_input_grad[:5]
        grad_rows = grad_y.reshape(-1, grad_y.shape[-1])
        grad_x = ctx.layer.grad_input(grad_rows) if needs_x else None  # (tokens, out) x (out, in) -> (tokens, in)
        grad_pooled = torch.zeros_like(pooled) if needs_x else None
        adapter = Adapter(a, b, ctx.scale, ctx.mask)
        grad_a, grad_b = low_rank_gradients(grad_rows, pooled, inner, adapter, grad_pooled, needs_a, needs_b)
        if grad_x is not None and grad_pooled is not None:
            add_to_groups_(grad_x, grad_pooled, ctx.layer.group_size)
        grad_bias = bias_gradient(grad_rows, needs_bias)
        return None if grad_x is None else grad_x.view(ctx.shape), grad_a, grad_b, None, grad_bias, None, None


_group_pooled: Callable[..., Tensor] = _GroupPooled.apply
