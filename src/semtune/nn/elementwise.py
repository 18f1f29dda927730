"""RMSNorm and SwiGLU, each as one step with a hand-written backward.

A decoder layer written in torch's own operations spends a third of a CPU's time on small passes over memory. Written by
hand, each needs fewer passes and keeps less between forward and backward: what is cheap is computed again.

- RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467):  y_i = w_i x_i / rms(x),  rms(x) = sqrt(mean(x²) + eps)
- SwiGLU (Shazeer 2020, arXiv:2002.05202):            y = silu(gate) ⊙ up,      silu(g) = g σ(g)

Inside, RMSNorm computes in fp32 at least. On a GPU both go to torch's own kernels, which are fused there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """(rows, width) and (width,) -> (rows, width), in x's dtype."""
    if x.is_cuda:
        return F.rms_norm(x, (x.shape[-1],), weight, eps)
    return _rms_norm(x, weight, eps)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) ⊙ up, all of one shape."""
    if gate.is_cuda:
        return F.silu(gate) * up
    return _swiglu(gate, up)


class _RMSNorm(torch.autograd.Function):
    """With n = x / rms and h = dy ⊙ w:  dx = (h - n mean(h ⊙ n)) / rms,  dw = sum of dy ⊙ n over rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = _widened(x)
        inverse = torch.linalg.vecdot(wide, wide).div_(x.shape[-1]).add_(eps).rsqrt_().unsqueeze(1)  # (rows, 1)
        normed = wide.mul_(inverse) if wide is not x else wide * inverse
        ctx.save_for_backward(x, weight, inverse)
        return normed.to(x.dtype).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, inverse = ctx.saved_tensors
        grad_x = grad_w = None
        normed = _widened(x) * inverse if x.dtype == inverse.dtype else _widened(x).mul_(inverse)  # (rows, width)
        if ctx.needs_input_grad[1]:
            grad_w = (normed * grad_y).sum(dim=0).to(weight.dtype)
        if ctx.needs_input_grad[0]:
            wide = (grad_y * weight).to(inverse.dtype)
            share = torch.linalg.vecdot(wide, normed).div_(x.shape[-1]).unsqueeze(1)  # (rows, 1)
            grad_x = wide.addcmul_(normed, share, value=-1).mul_(inverse).to(x.dtype)
        return grad_x, grad_w, None


class _SwiGLU(torch.autograd.Function):
    """Keeps gate and up alone; silu(gate) is computed again."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        grad_gate = torch.ops.aten.silu_backward(grad_y * up, gate)
        return grad_gate, F.silu(gate).mul_(grad_y)


_rms_norm: Callable[..., Tensor] = _RMSNorm.apply
_swiglu: Callable[..., Tensor] = _SwiGLU.apply


def _widened(x: Tensor) -> Tensor:
    """x in fp32, or itself where it is that wide."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
