"""GPT-2's `Conv1D` in bf16 on a CPU without bf16 hardware: the same parameters, products in fp32 (`nn.panels`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D

from semtune.nn import panels


class PanelConv1D(Conv1D):
    """y = x W + b with W (in, out); differentiable in all three."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in x's dtype."""
        if not panels.converts(self.weight, x):
            y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return y
        rows = _product(x.reshape(-1, x.shape[-1]), self.weight) + self.bias
        return rows.view(*x.shape[:-1], -1)


class _Product(torch.autograd.Function):
    """x W; W is stored as a linear layer's transposed weight, so a product is a linear layer's input gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x if weight.requires_grad else None, weight)
        return panels.grad_input(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad
        grad_x = panels.linear(grad_y, weight) if needs_x else None
        return grad_x, panels.grad_weight(x, grad_y) if needs_weight else None


_product: Callable[..., Tensor] = _Product.apply


def use_conv1d_panels(model: nn.Module) -> None:
    """Make each bf16 Conv1D of `model` a `PanelConv1D` where this machine needs it; parameters stay the same."""
    for module in model.modules():
        if type(module) is Conv1D and panels.converts(module.weight, module.weight):
            module.__class__ = PanelConv1D
