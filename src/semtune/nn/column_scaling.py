"""Scales the columns of a matrix in one pass over memory; with the gradients of the matrix and of the factors.

    y = z ⊙ f;   dz = dy ⊙ f;   df = Σ_rows dy ⊙ z

f (width,) is fp32 or fp64 and is applied in its own dtype: rounded to bf16 first, the first hundreds of updates of a
factor near 1 would be lost. bf16 and fp32 matrices on a CPU take a compiled loop.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semtune.nn.kernels import operators, supports


def scale_columns_(z: Tensor, factor: Tensor) -> Tensor:
    """z (..., width) times `factor` (width,), in place; returns z."""
    if supports(z):
        operators.scale_columns_(z, factor)
        return z
    return z.mul_(factor)


def column_gradients(grad_y: Tensor, y: Tensor, factor: Tensor, divisor: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """grad_y ⊙ factor, in the dtype of `grad_y`, and Σ_rows grad_y ⊙ y (width,), in that of `factor`.

    grad_y and y are (..., width). With y = z the second is the gradient of the factor. With y = z ⊙ factor, which the
    next operation usually saves anyway, it is that times the factor: hence `divisor` (width,), by which it is divided;
    it is 0 where that is 0.
    """
    if supports(grad_y, y):
        found: tuple[Tensor, Tensor] = operators.scale_columns_backward(grad_y, y, factor, divisor)
        return found
    total = (grad_y * y).reshape(-1, y.shape[-1]).sum(dim=0, dtype=factor.dtype)  # (..., width) -> (width,)
    if divisor is not None:
        total = torch.where(divisor == 0, 0.0, total / divisor)
    return (grad_y * factor).to(grad_y.dtype), total
