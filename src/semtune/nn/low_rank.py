"""Low-rank adapters beside a frozen linear layer, with a hand-written backward.

LoRA (Hu et al. 2021, arXiv:2106.09685):    y = W x + b + s B A drop(x),            s = alpha / r
DoRA (Liu et al. 2024, arXiv:2402.09353):   y = (m / n) * (W x + s B A drop(x)) + b,  n_i = ||(W + s B A)_i||

W (out, in) is frozen, plain or NF4; A (r, in), B (out, r) and the row magnitudes m (out,) are trained.

- Between forward and backward are kept: x, A drop(x) of (tokens, r), the dropout mask at one byte an element, and for
  DoRA the output before the bias, which whatever follows mostly keeps anyway. Never an unpacked 4-bit weight.
- W has no gradient; x has one only where something below is trained, which spares the lowest adapters a product.
- All is computed in x's dtype; A, B and m stay in their own (fp32) and so do their gradients.
- n is a constant for the gradient (DoRA section 4.3) and is never formed from a merged matrix:
  n_i² = ||W_i||² + 2 s (W A^T)_i · B_i + s² B_i (A A^T) B_i^T, with ||W_i||² computed once.
- Dropout acts on the low-rank path alone. PEFT's DoRA drops x also in part of the base path, (m/n - 1) W drop(x); with
  dropout 0 the two agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from semtune.nn.linear import NF4Linear, base_dtype, frozen_weight

_ROW_CHUNK = 1 << 20  # weights of a plain base that are held in fp32 at once while its row norms are computed


class LowRankLinear(nn.Module):
    """A frozen linear layer with a low-rank adapter; DoRA where `magnitudes`.

    At the start B is 0, so the output equals the base layer's to the bit (only DoRA over a base with a bias may differ
    in the last one: the bias is added after the scaling); A is Kaiming-uniform with a = sqrt(5), as in LoRA's
    reference. Parameters are fp32, or fp64 over an fp64 base: `lora_A` (rank, in), `lora_B` (out, rank) and, for DoRA
    alone, `magnitude` (out,), which starts as ||W_i||.

    Args:
        base: the layer to wrap; its parameters are frozen here.
        rank: r, at least 1 and at most min(in, out).
        alpha: the product is scaled by alpha / rank.
        dropout: probability, in [0, 1), that an element of the adapter's input is dropped while training; realised in
            steps of 1/65536.
    """

    magnitude: nn.Parameter | None
    base_row_square: Tensor | None
    """(out,), DoRA only: ||W_i||²; not saved, it follows from the base."""

    def __init__(
        self, base: nn.Linear | NF4Linear, rank: int, alpha: float, dropout: float = 0.0, magnitudes: bool = False
    ) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.rank, self.scale, self.dropout = rank, alpha / rank, dropout
        dtype = torch.float64 if base_dtype(base) == torch.float64 else torch.float32
        device = base.codes.device if isinstance(base, NF4Linear) else base.weight.device
        self.lora_A = nn.Parameter(torch.empty(rank, base.in_features, dtype=dtype, device=device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, dtype=dtype, device=device))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.register_buffer("base_row_square", _row_squares(base, dtype) if magnitudes else None, persistent=False)
        self.register_parameter("magnitude", None)
        if magnitudes:  # by the very formula of the forward, so that m / n is 1 to the bit
            self.magnitude = nn.Parameter(self.row_norms(frozen_weight(base)(base_dtype(base))))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in x's dtype."""
        weight_of = frozen_weight(self.base)
        weight = weight_of(x.dtype)  # (out, in)
        bias = None if self.base.bias is None else self.base.bias.to(x.dtype)
        dropping = self.training and self.dropout > 0
        keep, keep_share = _keep_mask(x, self.dropout) if dropping else (None, 1.0)
        scale = self.scale / keep_share
        if self.magnitude is None:
            return _low_rank(x, self.lora_A, self.lora_B, weight, bias, weight_of, scale, keep)
        norms = self.row_norms(weight)
        direction = _low_rank(x, self.lora_A, self.lora_B, weight, None, weight_of, scale, keep)
        y = _scale_rows(direction, self.magnitude, norms)
        return y if bias is None else y + bias

    @torch.no_grad()
    def row_norms(self, weight: Tensor) -> Tensor:
        """||W_i + s B_i A|| of every output row, (out,), from W (out, in) in any dtype; DoRA only."""
        assert self.base_row_square is not None
        a, b, s = self.lora_A, self.lora_B, self.scale
        crossed = (weight @ a.to(weight.dtype).t()).to(b.dtype)  # (out, in) x (in, r) -> (out, r)
        cross = (crossed * b).sum(dim=1)
        product = ((b @ (a @ a.t())) * b).sum(dim=1)  # (out, r) x (r, r) -> (out, r) -> (out,)
        return (self.base_row_square + 2 * s * cross + s * s * product).clamp(min=0).sqrt()

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        """The one matrix (out, in) that does what base and adapter do, in the adapter's dtype."""
        weight = frozen_weight(self.base)(self.lora_A.dtype)
        merged = torch.addmm(weight, self.lora_B, self.lora_A, alpha=self.scale)
        if self.magnitude is None:
            return merged
        return merged.mul_(_row_scale(self.magnitude, self.row_norms(weight)).unsqueeze(1))

    @torch.no_grad()
    def delta(self) -> Tensor:
        """What the adapter adds to the base's weight, (out, in), in the adapter's dtype."""
        if self.magnitude is None:
            return self.scale * (self.lora_B @ self.lora_A)
        return self.merged_weight() - frozen_weight(self.base)(self.lora_A.dtype)

    def extra_repr(self) -> str:
        return f"rank={self.rank}, scale={self.scale:g}, dropout={self.dropout:g}, dora={self.magnitude is not None}"


class _LowRank(torch.autograd.Function):
    """y = W x + b + scale · B A (keep ⊙ x); x (..., in) -> y (..., out). Gradients for x, A and B alone.

    `weight` is W as the caller has it at hand; backward asks `weight_of(dtype)` for it anew.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        a: Tensor,
        b: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        weight_of: Callable[[torch.dtype], Tensor],
        scale: float,
        keep: Tensor | None,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])  # (tokens, in)
        dropped = rows if keep is None else rows * keep
        inner = dropped @ a.to(x.dtype).t()  # (tokens, in) x (in, r) -> (tokens, r)
        y = F.linear(x, weight, bias)  # (..., in) x (in, out) -> (..., out), as the base layer alone would
        y.view(-1, b.shape[0]).addmm_(inner, b.to(x.dtype).t(), alpha=scale)  # + (tokens, r) x (r, out)
        ctx.save_for_backward(x, a, b, inner, keep)
        ctx.weight_of, ctx.scale = weight_of, scale
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, a, b, inner, keep = ctx.saved_tensors
        needs_x, needs_a, needs_b = ctx.needs_input_grad[:3]
        dtype = grad_y.dtype
        grad_rows = grad_y.reshape(-1, grad_y.shape[-1])  # (tokens, out)
        grad_x = grad_a = grad_b = None
        if needs_b:
            grad_b = (grad_rows.t() @ inner).to(b.dtype).mul_(ctx.scale)  # (out, tokens) x (tokens, r) -> (out, r)
        if needs_a or needs_x:
            grad_inner = (grad_rows @ b.to(dtype)).mul_(ctx.scale)  # (tokens, out) x (out, r) -> (tokens, r)
        if needs_a:
            rows = x.reshape(-1, x.shape[-1])
            dropped = rows if keep is None else rows * keep
            grad_a = (grad_inner.t() @ dropped).to(a.dtype)  # (r, tokens) x (tokens, in) -> (r, in)
        if needs_x:
            grad_x = grad_rows @ ctx.weight_of(dtype)  # (tokens, out) x (out, in) -> (tokens, in)
            if keep is None:
                grad_x.addmm_(grad_inner, a.to(dtype))  # + (tokens, r) x (r, in)
            else:
                grad_x.add_((grad_inner @ a.to(dtype)).mul_(keep))
            grad_x = grad_x.view(x.shape)
        return grad_x, grad_a, grad_b, None, None, None, None, None


class _ScaleRows(torch.autograd.Function):
    """y = (m / n) ⊙ z in place of z (..., out); gradients for z and m, none for n.

    dm = sum of dy ⊙ z / n over the tokens = sum of dy ⊙ y / m, so y is kept, not z. The factor is applied in the
    dtype of m: rounded to bf16 first, the first hundreds of steps of a magnitude near 1 would be lost.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, magnitude: Tensor, norms: Tensor) -> Tensor:
        y = z.mul_(_row_scale(magnitude, norms))
        ctx.mark_dirty(z)
        ctx.save_for_backward(y, magnitude, norms)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        y, magnitude, norms = ctx.saved_tensors
        grad_z = grad_m = None
        if ctx.needs_input_grad[0]:
            grad_z = (grad_y * _row_scale(magnitude, norms)).to(grad_y.dtype)
        if ctx.needs_input_grad[1]:
            total = (grad_y * y).reshape(-1, y.shape[-1]).sum(dim=0, dtype=magnitude.dtype)  # (tokens, out) -> (out,)
            grad_m = torch.where(magnitude == 0, 0.0, total / magnitude)
        return grad_z, grad_m, None


_low_rank: Callable[..., Tensor] = _LowRank.apply
_scale_rows: Callable[..., Tensor] = _ScaleRows.apply


def _row_scale(magnitude: Tensor, norms: Tensor) -> Tensor:
    """m / n (out,); 0 where a row of the weight is all zero and so has no direction."""
    return torch.where(norms > 0, magnitude.detach() / norms, 0.0)


def _row_squares(base: nn.Linear | NF4Linear, dtype: torch.dtype) -> Tensor:
    """||W_i||² (out,) in `dtype`, a plain weight being converted some rows at a time."""
    weight = base.dequantize(dtype) if isinstance(base, NF4Linear) else base.weight.detach()
    rows, columns = weight.shape
    step = max(1, _ROW_CHUNK // columns)
    return torch.cat([weight[i : i + step].to(dtype).square().sum(dim=1) for i in range(0, rows, step)])


def _keep_mask(x: Tensor, dropout: float) -> tuple[Tensor, float]:
    """A random mask (tokens, in), True: kept, and the exact share kept, from torch's global generator.

    Sixteen random bits an element: 64-bit draws are cut in four, which is several times faster than one draw each.
    """
    threshold = min(round(dropout * 65536), 65535)
    count = x.numel()
    draws = torch.empty(-(-count // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
    keep = draws.view(torch.int16)[:count] >= threshold - 32768
    return keep.view(-1, x.shape[-1]), 1 - threshold / 65536
