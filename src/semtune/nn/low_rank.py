"""Low-rank adapters beside a frozen linear layer, with a hand-written backward.

LoRA (Hu et al. 2021, arXiv:2106.09685):    y = W x + b + s B A drop(x),            s = alpha / r
rsLoRA (Kalajdzievski 2023, arXiv:2312.03732):                                      s = alpha / sqrt(r)
DoRA (Liu et al. 2024, arXiv:2402.09353):   y = (m / n) * (W x + s B A drop(x)) + b,  n_i = ||(W + s B A)_i||

W (out, in) is frozen, in any linear layer (`contracts.LinearLayer`); A (r, in), B (out, r) and the row
magnitudes m (out,) are trained, and the bias b may be.

- Saved for backward: x (not where A is frozen, LoRA-FA: Zhang et al. 2023, arXiv:2308.03303), A drop(x) of
  (tokens, r), and for DoRA the output before the bias, which the next operation usually saves too. Never a dropout mask
  (see `dropout`) or a dequantised weight.
- W has no gradient; x has one only where a lower layer is trained, so the lowest adapters need one matmul less.
- Products run in x's dtype (in fp32 where the adapter's are a compiled loop, see `low_rank_products`); A, B and m stay
  in their own (fp32) and so do their gradients.
- n is a constant for the gradient (DoRA section 4.3) and is never formed from a merged matrix (`row_norms`).
- Dropout acts on the low-rank path alone. PEFT's DoRA drops x also in part of the base path, (m/n - 1) W drop(x); with
  dropout 0 the two agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from semtune.contracts import LinearLayer
from semtune.nn.column_scaling import column_gradients, scale_columns_
from semtune.nn.dropout import DropoutMask, draw_mask
from semtune.nn.linear import adapter_dtype, as_linear_layer
from semtune.nn.linear.frozen import bias_gradient
from semtune.nn.low_rank_products import Adapter, add_low_rank_, low_rank_gradients
from semtune.nn.row_norms import row_scale, row_square_sums, updated_row_norms


def scale_of(rank: int, alpha: float, *, rank_stabilized: bool) -> float:
    """s, the factor on B A: alpha / r, or alpha / sqrt(r) as rsLoRA has it."""
    return alpha / (math.sqrt(rank) if rank_stabilized else rank)


class Factors(NamedTuple):
    """The product B A of an (out, in) matrix of low rank."""

    a: Tensor
    """(r, in)."""
    b: Tensor
    """(out, r)."""


class LowRankLinear(nn.Module):
    """A frozen linear layer with a low-rank adapter; DoRA where `magnitudes`.

    Without `start` B is 0 at first, so the output is bitwise equal to the base layer's (only DoRA over a base with a
    bias may differ in the last one: the bias is added after the scaling); A is Kaiming-uniform with a = sqrt(5), as in
    LoRA's reference. Parameters are fp32, or fp64 over an fp64 base: `lora_A` (rank, in), `lora_B` (out, rank) and,
    for DoRA alone, `magnitude` (out,), which is ||W_i + s B_i A|| at first.

    Args:
        base: the linear layer to wrap; its parameters are frozen here. The bias may be made trainable afterwards.
        rank: r, at least 1 and at most min(in, out).
        alpha: B A is scaled by alpha / rank; by alpha / sqrt(rank) if `rank_stabilized`.
        dropout: probability, in [0, 1), that an element of the adapter's input is dropped while training; rounded
            to a multiple of 1/65536.
        freeze_a: whether A stays as it is.
        start: A and B at first, in any float dtype.
        subtracted: A' and B', if `base` has the weight W - s B' A' instead of W, rounded as it stores weights.
    """

    magnitude: nn.Parameter | None
    subtracted_a: Tensor | None
    """A' (rank, in); not saved with the model's state, as the adapter's file has it."""
    subtracted_b: Tensor | None
    """B' (out, rank)."""
    rounded_start = False
    """Whether A and B began with something that depends on how the base is rounded, so that no other base fits."""
    base_row_square: Tensor | None
    """(out,), DoRA only: ||W_i||²; not saved, it follows from the base."""

    def __init__(
        self,
        base: nn.Module,
        rank: int,
        alpha: float,
        dropout: float = 0.0,
        magnitudes: bool = False,
        *,
        rank_stabilized: bool = False,
        freeze_a: bool = False,
        start: Factors | None = None,
        subtracted: Factors | None = None,
    ) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        layer = as_linear_layer(base)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.rank, self.dropout, self.freeze_a = rank, dropout, freeze_a
        self.scale = scale_of(rank, alpha, rank_stabilized=rank_stabilized)
        dtype = adapter_dtype(layer.compute_dtype)
        a, b = _usual_start(layer, rank, dtype) if start is None else start
        self.lora_A = nn.Parameter(a.to(layer.device, dtype), requires_grad=not freeze_a)
        self.lora_B = nn.Parameter(b.to(layer.device, dtype))
        kept = (None, None) if subtracted is None else (x.to(layer.device, dtype, copy=True) for x in subtracted)
        for name, factor in zip(("subtracted_a", "subtracted_b"), kept, strict=True):
            self.register_buffer(name, factor, persistent=False)
        row_squares = row_square_sums(layer.dequantize(layer.weight_dtype), dtype) if magnitudes else None
        self.register_buffer("base_row_square", row_squares, persistent=False)
        self.register_parameter("magnitude", None)
        if magnitudes:  # computed as in forward, so that m / n is exactly 1
            self.magnitude = nn.Parameter(self.row_norms(layer.compute_dtype))

    @property
    def subtracted(self) -> Factors | None:
        """A' and B' where the base has W - s B' A'; None where it has the model's own weight W."""
        a, b = self.subtracted_a, self.subtracted_b
        return None if a is None or b is None else Factors(a, b)

    def resize(self, rank: int) -> None:
        """Make A and B anew with another rank; their values are undefined and `scale` stays."""
        a, b = self.lora_A, self.lora_B
        self.rank = rank
        self.lora_A = nn.Parameter(a.new_empty(rank, self.in_features), requires_grad=not self.freeze_a)
        self.lora_B = nn.Parameter(b.new_empty(self.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in x's dtype."""
        layer = as_linear_layer(self.base)
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        mask = draw_mask(self.dropout) if self.training and self.dropout > 0 else None
        scale = self.scale if mask is None else self.scale / mask.keep_probability
        if self.magnitude is None:
            return _low_rank(x, self.lora_A, self.lora_B, layer, bias, scale, mask)
        norms = self.row_norms(x.dtype)
        direction = _low_rank(x, self.lora_A, self.lora_B, layer, None, scale, mask)
        y = _scale_rows(direction, self.magnitude, norms)
        return y if bias is None else y + bias

    @torch.no_grad()
    def row_norms(self, dtype: torch.dtype) -> Tensor:
        """||W_i + s B_i A|| of every output row, (out,); the matmul with W runs in `dtype`. DoRA only."""
        assert self.base_row_square is not None
        a, b = self.lora_A, self.lora_B
        crossed = as_linear_layer(self.base).matmul(a.to(dtype))  # (r, in) x (in, out) -> (r, out)
        return updated_row_norms(self.base_row_square, crossed, a, b, self.scale)

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        """The weight (out, in) of a linear layer that equals base and adapter together, in the adapter's dtype."""
        return self._merged_into(as_linear_layer(self.base).dequantize(self.lora_A.dtype))

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """The base layer with `merged_weight` as its weight, which replaces this module.

        Raises MergeRefusedError.
        """
        return as_linear_layer(self.base).merged(self._merged_into)

    def _merged_into(self, weight: Tensor) -> Tensor:
        """The base's `weight` (out, in) with the adapter folded in, in the adapter's dtype."""
        dtype = self.lora_A.dtype
        merged = torch.addmm(weight.to(dtype), self.lora_B, self.lora_A, alpha=self.scale)
        if self.magnitude is None:
            return merged
        return merged.mul_(row_scale(self.magnitude, self.row_norms(dtype)).unsqueeze(1))

    @torch.no_grad()
    def delta(self) -> Tensor:
        """`merged_weight` less the base's weight, (out, in), in the adapter's dtype."""
        if self.magnitude is None:
            return self.scale * (self.lora_B @ self.lora_A)
        return self.merged_weight() - as_linear_layer(self.base).dequantize(self.lora_A.dtype)

    def extra_repr(self) -> str:
        return f"rank={self.rank}, scale={self.scale:g}, dropout={self.dropout:g}, dora={self.magnitude is not None}"


class _LowRank(torch.autograd.Function):
    """y = W x + b + scale · B A (mask ⊙ x); x (..., in) -> y (..., out). Gradients for x, A, B and b.

    Forward and backward call the base layer's `matmul` and `grad_input`, so a 4-bit weight is dequantised twice.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        a: Tensor,
        b: Tensor,
        layer: LinearLayer,
        bias: Tensor | None,
        scale: float,
        mask: DropoutMask | None,
    ) -> Tensor:
        adapter = Adapter(a, b, scale, mask)
        y = layer.matmul(x, bias)  # (..., in) x (in, out) -> (..., out), as the base layer alone would
        inner = add_low_rank_(y.view(-1, b.shape[0]), x.reshape(-1, x.shape[-1]), adapter)
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, a, b, inner)
        ctx.x_shape = x.shape
        ctx.layer, ctx.scale, ctx.mask = layer, scale, mask
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, a, b, inner = ctx.saved_tensors
        needs_x, needs_a, needs_b, _, needs_bias = ctx.needs_input_grad[:5]
        grad_rows = grad_y.reshape(-1, grad_y.shape[-1])
        rows = None if x is None else x.reshape(-1, x.shape[-1])
        grad_x = ctx.layer.grad_input(grad_rows) if needs_x else None  # (tokens, out) x (out, in) -> (tokens, in)
        adapter = Adapter(a, b, ctx.scale, ctx.mask)
        grad_a, grad_b = low_rank_gradients(grad_rows, rows, inner, adapter, grad_x, needs_a, needs_b)
        grad_bias = bias_gradient(grad_rows, needs_bias)
        return None if grad_x is None else grad_x.view(ctx.x_shape), grad_a, grad_b, None, grad_bias, None, None


class _ScaleRows(torch.autograd.Function):
    """y = (m / n) ⊙ z in place of z (..., out); gradients for z and m, none for n.

    dm = sum of dy ⊙ z / n over the tokens = sum of dy ⊙ y / m, so y is saved, not z.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, magnitude: Tensor, norms: Tensor) -> Tensor:
        factor = row_scale(magnitude, norms)
        scale_columns_(z, factor)
        ctx.mark_dirty(z)
        ctx.save_for_backward(z, magnitude, factor)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        y, magnitude, factor = ctx.saved_tensors
        needs_z, needs_m = ctx.needs_input_grad[:2]
        grad_z, grad_m = column_gradients(grad_y, y, factor, magnitude)
        return grad_z if needs_z else None, grad_m if needs_m else None, None


def _usual_start(layer: LinearLayer, rank: int, dtype: torch.dtype) -> Factors:
    """A Kaiming-uniform, drawn on the CPU, so that a seed gives the same adapter on every device; B 0."""
    a = nn.init.kaiming_uniform_(torch.empty(rank, layer.in_features, dtype=dtype), a=math.sqrt(5))
    return Factors(a, torch.zeros(layer.out_features, rank, dtype=dtype, device=layer.device))


_low_rank: Callable[..., Tensor] = _LowRank.apply
_scale_rows: Callable[..., Tensor] = _ScaleRows.apply
