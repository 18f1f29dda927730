"""A frozen linear layer whose outputs or inputs are scaled by a trained vector: (IA)³, with a hand-written backward.

(IA)³ (Liu et al. 2022, arXiv:2205.05638), section 3.3:

    output scaled (keys and values):         y = l ⊙ (W x + b)
    input scaled (the MLP's activation):     y = W (l ⊙ x) + b

- Saved for backward: of a scaled output y, which the next operation usually saves too, since dl = Σ dy ⊙ y / l; of a
  scaled input x.
- Products run in x's dtype, as the base layer's; l is fp32 (fp64 over an fp64 base), and so is its gradient.
- Both are linear in x, so they merge into W and b: diag(l) W with l ⊙ b, or W diag(l).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from semtune.contracts import LinearLayer
from semtune.nn.column_scaling import column_gradients, scale_columns_
from semtune.nn.linear import adapter_dtype, as_linear_layer


class ScaledLinear(nn.Module):
    """A frozen linear layer and `scale`, (out,) or (in,), which is 1 at first: the output is then bitwise the base's.

    Args:
        base: the linear layer to wrap; its parameters are frozen here.
        on_input: whether the layer's input is scaled instead of its output.
    """

    def __init__(self, base: nn.Module, *, on_input: bool) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        layer = as_linear_layer(base)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.on_input = on_input
        dtype = adapter_dtype(layer.compute_dtype)
        width = layer.in_features if on_input else layer.out_features
        self.scale = nn.Parameter(torch.ones(width, dtype=dtype, device=layer.device))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in x's dtype."""
        layer = as_linear_layer(self.base)
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        return (_scaled_input if self.on_input else _scaled_output)(x, self.scale, layer, bias)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """The base layer with the scale in its weight and bias, computed in the scale's dtype and rounded once.

        It replaces this module. Raises MergeRefusedError, before anything is changed.
        """
        layer = as_linear_layer(self.base)
        factor = self.scale if self.on_input else self.scale.unsqueeze(1)
        merged = layer.merged(lambda weight: weight.to(factor.dtype) * factor)  # (out, in) x (in,) or (out, 1)
        if layer.bias is not None and not self.on_input:
            layer.bias.copy_(layer.bias.to(self.scale.dtype) * self.scale)
        return merged

    def extra_repr(self) -> str:
        return f"scaled={'input' if self.on_input else 'output'}"


class _ScaledOutput(torch.autograd.Function):
    """y = l ⊙ (W x + b); x (..., in) -> y (..., out). Gradients for x and l."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, layer: LinearLayer, bias: Tensor | None) -> Tensor:
        y = scale_columns_(layer.matmul(x, bias), scale.detach())
        ctx.save_for_backward(y, scale)
        ctx.layer, ctx.x_shape = layer, x.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        y, scale = ctx.saved_tensors
        grad_z, grad_scale = column_gradients(grad_y, y, scale, scale)
        rows = grad_z.reshape(-1, grad_z.shape[-1])
        grad_x = ctx.layer.grad_input(rows).view(ctx.x_shape) if ctx.needs_input_grad[0] else None
        return grad_x, grad_scale, None, None


class _ScaledInput(torch.autograd.Function):
    """y = W (l ⊙ x) + b; x (..., in) -> y (..., out). Gradients for x and l."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, layer: LinearLayer, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, scale)
        ctx.layer = layer
        return layer.matmul(scale_columns_(x.clone(), scale.detach()), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, scale = ctx.saved_tensors
        grad_scaled = ctx.layer.grad_input(grad_y.reshape(-1, grad_y.shape[-1]))  # (rows, out) -> (rows, in)
        grad_x, grad_scale = column_gradients(grad_scaled, x.reshape(grad_scaled.shape), scale)
        return grad_x.view(x.shape), grad_scale, None, None


_scaled_output: Callable[..., Tensor] = _ScaledOutput.apply
_scaled_input: Callable[..., Tensor] = _ScaledInput.apply
