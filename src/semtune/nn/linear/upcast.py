"""A frozen linear layer whose weight keeps the half precision of its file while everything is computed in fp32.

Every bf16 and fp16 number is an fp32 number, so the layer's results are those of the same weight in fp32, to the order
of summation, in half the memory. Products convert one panel of the weight at a time (`nn.panels`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from semtune.nn import panels
from semtune.nn.linear.frozen import FrozenLinear, frozen_parameter, plain_linear


class UpcastLinear(FrozenLinear):
    """y = x Wᵀ + b with W (out, in) frozen and stored in bf16 or fp16; computed in x's dtype, fp32 as a rule.

    `.to(dtype)` and `.double()` move but never convert W.

    Args:
        weight: (out, in), bf16 or fp16; not copied.
        bias: (out,), or None; stored in `compute_dtype`.
        compute_dtype: the dtype of the layer's products: fp32, or fp64.
    """

    stored: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None, compute_dtype: torch.dtype) -> None:
        rows, columns = weight.shape
        super().__init__(columns, rows, None if bias is None else frozen_parameter(bias, compute_dtype))
        self._compute_dtype = compute_dtype
        self.register_buffer("stored", weight.detach())

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """See `LinearLayer`."""
        return self.stored.to(dtype)

    def matmul(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `LinearLayer`."""
        return panels.linear(x, self.stored, bias)

    def grad_input(self, grad: Tensor) -> Tensor:
        """See `LinearLayer`."""
        return panels.grad_input(grad, self.stored)

    @property
    def compute_dtype(self) -> torch.dtype:
        """See `LinearLayer`."""
        return self._compute_dtype

    @property
    def weight_dtype(self) -> torch.dtype:
        """See `LinearLayer`."""
        return self.stored.dtype

    @property
    def train_refusal(self) -> str | None:
        """See `LinearLayer`."""
        return "weights that are stored in half precision under fp32 activations; load the model without frozen=True"

    def merged(self, update: Callable[[Tensor], Tensor]) -> nn.Module:
        """A plain layer in the compute dtype, so that nothing of the update is rounded away; see `LinearLayer`."""
        return plain_linear(update(self.stored).to(self._compute_dtype), self.bias)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Called by `.to()` and the like; keeps the dtype of W."""
        return self._apply_without_converting(fn, recurse)
