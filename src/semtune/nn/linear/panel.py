"""`nn.Linear` with products of `nn.panels`: bf16 on a CPU without bf16 hardware, fp32 where ours are faster.

The parameters stay the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from semtune.nn import panels
from semtune.nn.linear.frozen import bias_gradient


class PanelLinear(nn.Linear):
    """y = x Wᵀ + b; differentiable in x, W and b. Tensors that torch multiplies fast take nn.Linear's own path."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., in) -> (..., out), in x's dtype."""
        return linear(input, self.weight, self.bias)


class _PanelLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x if weight.requires_grad else None, weight)
        return panels.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows = grad_y.reshape(-1, grad_y.shape[-1])
        grad_x = panels.grad_input(rows, weight).view(*grad_y.shape[:-1], -1) if needs_x else None
        grad_weight = panels.grad_weight(rows, x.reshape(-1, x.shape[-1])) if needs_weight else None
        return grad_x, grad_weight, bias_gradient(rows, needs_bias)


_panel_linear: Callable[..., Tensor] = _PanelLinear.apply


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """F.linear, differentiable in all three: (..., in), (out, in) and (out,) -> (..., out) in x's dtype."""
    return _panel_linear(x, weight, bias) if panels.multiplies(weight, x) else F.linear(x, weight, bias)


def use_panels(model: nn.Module) -> None:
    """Make each nn.Linear of `model` a `PanelLinear` where this machine is faster so; parameters stay the same."""
    for module in model.modules():
        if type(module) is nn.Linear and panels.multiplies(module.weight, module.weight):
            module.__class__ = PanelLinear
