"""RMSNorm, with the residual sum before it, and SwiGLU: each one step with a hand-written backward.

A decoder layer written in torch's own operations spends a third of a CPU's time on small passes over memory. Written by
hand, each needs fewer passes and keeps less between forward and backward: what is cheap is computed again.

- RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467):  y_i = w_i x_i / rms(x),  rms(x) = sqrt(mean(x²) + eps)
- SwiGLU (Shazeer 2020, arXiv:2002.05202):            y = silu(gate) ⊙ up,      silu(g) = g σ(g)

Inside, both compute in fp32 at least. In bf16 on a CPU each is one compiled loop where there is one (`nn.kernels`),
which rounds once, at the end. On a GPU both go to torch's own kernels, which are fused there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from semtune.nn import kernels


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """(rows, width) and (width,) -> (rows, width), in x's dtype."""
    if kernels.on_gpu(x):
        return _library_norm(x, weight, eps)
    return _rms_norm(x, weight, eps)


def add_rms_norm(x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x + delta, and its norm: (rows, width) twice and (width,) -> (rows, width) twice."""
    if kernels.on_gpu(x):
        total = x + delta
        return total, _library_norm(total, weight, eps)
    return _add_rms_norm(x, delta, weight, eps)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) ⊙ up, all of one shape."""
    if kernels.on_gpu(gate):
        return F.silu(gate) * up
    return _swiglu(gate, up)


def _library_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """torch's own, one fused kernel on a GPU; a plan asks for that kernel by name, as elsewhere it is several steps."""
    if x.is_cuda:
        return F.rms_norm(x, (x.shape[-1],), weight, eps)
    normed: Tensor = torch.ops.aten._fused_rms_norm(x, [x.shape[-1]], weight, eps)[0]
    return normed


class _RMSNorm(torch.autograd.Function):
    """With n = x / rms and h = dy ⊙ w:  dx = (h - n mean(h ⊙ n)) / rms,  dw = sum of dy ⊙ n over rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        y, inverse = _normed(x, weight, eps)
        ctx.save_for_backward(x, weight, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, inverse = ctx.saved_tensors
        grad_x = _norm_backward(x, weight, inverse, grad_y, None) if ctx.needs_input_grad[0] else None
        return grad_x, _weight_gradient(x, weight, inverse, grad_y) if ctx.needs_input_grad[1] else None, None


class _AddRMSNorm(torch.autograd.Function):
    """(x, delta) -> (x + delta, its norm). Both have the sum's gradient: what comes past the norm and through it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        if kernels.takes(x, delta, weight):
            total, y, inverse = torch.empty_like(x), torch.empty_like(x), _inverse_like(x)
            kernels.call("norm", x, delta, weight, eps, total, y, inverse, *x.shape)
        else:
            total = x + delta
            y, inverse = _normed(total, weight, eps)
        ctx.save_for_backward(total, weight, inverse)
        ctx.set_materialize_grads(False)
        return total, y

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_total: Tensor | None, grad_y: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        total, weight, inverse = ctx.saved_tensors
        if grad_y is None:
            return grad_total, grad_total, None, None
        grad = _norm_backward(total, weight, inverse, grad_y, grad_total) if any(ctx.needs_input_grad[:2]) else None
        grad_w = _weight_gradient(total, weight, inverse, grad_y) if ctx.needs_input_grad[2] else None
        return grad, grad, grad_w, None


def _normed(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The norm (rows, width), and 1 / rms (rows, 1) in fp32 at least."""
    if kernels.takes(x, weight):
        y, inverse = torch.empty_like(x), _inverse_like(x)
        kernels.call("norm", x, None, weight, eps, None, y, inverse, *x.shape)
        return y, inverse
    wide = _widened(x)
    inverse = torch.linalg.vecdot(wide, wide).div_(x.shape[-1]).add_(eps).rsqrt_().unsqueeze(1)
    normed = wide.mul_(inverse) if wide is not x else wide * inverse
    return normed.to(x.dtype).mul_(weight), inverse


def _norm_backward(x: Tensor, weight: Tensor, inverse: Tensor, grad_y: Tensor, grad_x: Tensor | None) -> Tensor:
    """The gradient of what was normed, `grad_x` (what came past the norm) added; a new tensor (rows, width)."""
    if kernels.takes(x, weight, grad_y, grad_x):
        out = torch.empty_like(x)
        kernels.call("norm_backward", x, weight, inverse, grad_y, grad_x, out, *x.shape)
        return out
    normed = _widened(x) * inverse  # (rows, width)
    wide = (grad_y * weight).to(inverse.dtype)
    share = torch.linalg.vecdot(wide, normed).div_(x.shape[-1]).unsqueeze(1)  # (rows, 1)
    out = wide.addcmul_(normed, share, value=-1).mul_(inverse).to(x.dtype)
    return out if grad_x is None else out.add_(grad_x)


def _weight_gradient(x: Tensor, weight: Tensor, inverse: Tensor, grad_y: Tensor) -> Tensor:
    """(width,), summed in fp32 at least."""
    if kernels.takes(x, weight, grad_y):
        total = torch.empty(x.shape[1], dtype=torch.float32)
        kernels.call("norm_weight", x, inverse, grad_y, total, *x.shape)
        return total.to(weight.dtype)
    return (_widened(x) * inverse * grad_y).sum(dim=0).to(weight.dtype)


class _SwiGLU(torch.autograd.Function):
    """Keeps gate and up alone; silu(gate) is computed again."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        if kernels.takes(gate, up):
            y = torch.empty_like(gate)
            kernels.call("swiglu", gate, up, y, gate.numel())
            return y
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        if kernels.takes(gate, up, grad_y):
            grad_gate, grad_up = torch.empty_like(gate), torch.empty_like(up)
            kernels.call("swiglu_backward", gate, up, grad_y, grad_gate, grad_up, gate.numel())
            return grad_gate, grad_up
        grad_gate = torch.ops.aten.silu_backward(grad_y * up, gate)
        return grad_gate, F.silu(gate).mul_(grad_y)


_rms_norm: Callable[..., Tensor] = _RMSNorm.apply
_add_rms_norm: Callable[..., tuple[Tensor, Tensor]] = _AddRMSNorm.apply
_swiglu: Callable[..., Tensor] = _SwiGLU.apply


def _inverse_like(x: Tensor) -> Tensor:
    return torch.empty(x.shape[0], 1, dtype=torch.float32)


def _widened(x: Tensor) -> Tensor:
    """x in fp32, or itself where it is that wide."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
