"""RMSNorm, RMSNorm fused with the residual addition before it, and SwiGLU, with hand-written backward passes.

A decoder layer of torch's own operations spends a third of its time on a CPU on small passes over memory. These
functions need fewer passes and save fewer tensors for backward, which computes cheap intermediate results again.

- RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467):  y_i = w_i x_i / rms(x),  rms(x) = sqrt(mean(x²) + eps)
- SwiGLU (Shazeer 2020, arXiv:2002.05202):            y = silu(gate) ⊙ up,      silu(g) = g σ(g)

Both compute in fp32 at least. For bf16 and fp32 on a CPU each is one compiled operator (`nn.kernels`), which rounds
once, at the end. On CUDA both call torch's own kernels, which are fused there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from semtune.nn.cuda_path import on_cuda
from semtune.nn.kernels import operators, supports


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm: x (rows, width) and weight (width,) -> (rows, width), in x's dtype."""
    if on_cuda(x):
        return _library_norm(x, weight, eps)
    return _rms_norm(x, weight, eps)


def add_rms_norm(x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x + delta and its RMSNorm, each (rows, width); x and delta are (rows, width), weight is (width,)."""
    if on_cuda(x):
        total = x + delta
        return total, _library_norm(total, weight, eps)
    return _add_rms_norm(x, delta, weight, eps)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) ⊙ up, all of one shape."""
    if on_cuda(gate):
        return F.silu(gate) * up
    return _swiglu(gate, up)


def _library_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """torch's fused CUDA kernel. Fake CPU tensors call it by name, because `F.rms_norm` splits it into several."""
    if x.is_cuda:
        return F.rms_norm(x, (x.shape[-1],), weight, eps)
    normed: Tensor = torch.ops.aten._fused_rms_norm(x, [x.shape[-1]], weight, eps)[0]
    return normed


class _RMSNorm(torch.autograd.Function):
    """RMSNorm. With n = x / rms and h = dy ⊙ w:  dx = (h - n mean(h ⊙ n)) / rms,  dw = sum of dy ⊙ n over rows."""

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
    """(x, delta) -> (x + delta, its norm). x and delta get one gradient: that of the sum plus that through the norm."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        if supports(x, delta, weight):
            total, y, inverse = operators.add_rms_norm(x, delta, weight, eps)
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
    """The RMSNorm (rows, width), and 1 / rms (rows, 1) in fp32 at least."""
    if supports(x, weight):
        fused: tuple[Tensor, Tensor] = operators.rms_norm(x, weight, eps)
        return fused
    upcast = _upcast(x)
    inverse = torch.linalg.vecdot(upcast, upcast).div_(x.shape[-1]).add_(eps).rsqrt_().unsqueeze(1)
    normed = upcast.mul_(inverse) if upcast is not x else upcast * inverse
    return normed.to(x.dtype).mul_(weight), inverse


def _norm_backward(x: Tensor, weight: Tensor, inverse: Tensor, grad_y: Tensor, grad_x: Tensor | None) -> Tensor:
    """The gradient of the norm's input x, plus `grad_x` from other uses of x; a new tensor (rows, width)."""
    if supports(x, weight, grad_y, grad_x):
        fused: Tensor = operators.rms_norm_backward(x, weight, inverse, grad_y, grad_x)
        return fused
    normed = _upcast(x) * inverse  # (rows, width)
    grad_normed = (grad_y * weight).to(inverse.dtype)
    mean = torch.linalg.vecdot(grad_normed, normed).div_(x.shape[-1]).unsqueeze(1)  # (rows, 1)
    out = grad_normed.addcmul_(normed, mean, value=-1).mul_(inverse).to(x.dtype)
    return out if grad_x is None else out.add_(grad_x)


def _weight_gradient(x: Tensor, weight: Tensor, inverse: Tensor, grad_y: Tensor) -> Tensor:
    """The gradient of the norm's weight (width,), summed in fp32 at least."""
    if supports(x, weight, grad_y):
        total: Tensor = operators.rms_norm_weight_grad(x, inverse, grad_y)
        return total.to(weight.dtype)
    return (_upcast(x) * inverse * grad_y).sum(dim=0).to(weight.dtype)


class _SwiGLU(torch.autograd.Function):
    """Saves gate and up alone; backward computes silu(gate) again."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        if supports(gate, up):
            y: Tensor = operators.swiglu(gate, up)
            return y
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        if supports(gate, up, grad_y):
            fused: tuple[Tensor, Tensor] = operators.swiglu_backward(gate, up, grad_y)
            return fused
        grad_gate = torch.ops.aten.silu_backward(grad_y * up, gate)
        return grad_gate, F.silu(gate).mul_(grad_y)


_rms_norm: Callable[..., Tensor] = _RMSNorm.apply
_add_rms_norm: Callable[..., tuple[Tensor, Tensor]] = _AddRMSNorm.apply
_swiglu: Callable[..., Tensor] = _SwiGLU.apply


def _upcast(x: Tensor) -> Tensor:
    """x in fp32, or x itself where it is fp32 or fp64."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
