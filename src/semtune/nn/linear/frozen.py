"""Base classes of linear layers with a frozen weight in another storage format, and their autograd function.

A subclass stores W and returns it from `dequantize`; all other members of `contracts.LinearLayer` have defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from semtune.contracts import LinearLayer
from semtune.errors import MergeRefusedError
from semtune.nn import panels


class FrozenLinear(nn.Module):
    """y = x Wᵀ + bias with W (out, in) frozen; differentiable in x and bias, computed in x's dtype.

    W is stored in buffers (or plain attributes), never in parameters. `bias` is a parameter and may be trained.

    Args:
        bias: the parameter object to use, (out_features,), or None.
    """

    bias: nn.Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.register_parameter("bias", bias)

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """See `LinearLayer`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in x's dtype."""
        return frozen_linear(x, None if self.bias is None else self.bias.to(x.dtype), self)

    def matmul(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `LinearLayer`."""
        return panels.linear(x, self._transient_weight(x.dtype), bias)

    def grad_input(self, grad: Tensor) -> Tensor:
        """See `LinearLayer`."""
        return panels.grad_input(grad, self._transient_weight(grad.dtype))

    def _transient_weight(self, dtype: torch.dtype) -> Tensor:
        """W in `dtype` for one matmul, in memory that the next layer's matmul may overwrite."""
        return self.dequantize(dtype)

    @property
    def compute_dtype(self) -> torch.dtype:
        """See `LinearLayer`."""
        return self.weight_dtype

    @property
    def weight_dtype(self) -> torch.dtype:
        """See `LinearLayer`."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """See `LinearLayer`."""
        return next(self.buffers()).device

    @property
    def weight_numel(self) -> int:
        """See `LinearLayer`."""
        return self.in_features * self.out_features

    @property
    def weight_bytes(self) -> int:
        """See `LinearLayer`."""
        return sum(buffer.numel() * buffer.element_size() for buffer in self.buffers())

    @property
    def weight_frozen(self) -> bool:
        """See `LinearLayer`."""
        return True

    @property
    def train_refusal(self) -> str | None:
        """See `LinearLayer`."""
        raise NotImplementedError

    @property
    def merge_refusal(self) -> str | None:
        """See `LinearLayer`."""
        return None

    @property
    def can_prepack(self) -> bool:
        """See `LinearLayer`."""
        return False

    def merged(self, update: Callable[[Tensor], Tensor]) -> nn.Module:
        """See `LinearLayer`."""
        raise NotImplementedError

    def prepack(self, *, backward: bool) -> nn.Module | None:
        """See `LinearLayer`."""
        return None

    def _apply_without_converting(self, fn: Callable[[Tensor], Tensor], recurse: bool) -> Self:
        """`nn.Module._apply`, which `.to()` and the like call, but buffers move only and keep their dtypes."""
        before = {name: buffer for name, buffer in self._buffers.items() if buffer is not None}
        convert: Callable[..., Any] = super()._apply
        convert(fn, recurse)
        for name, buffer in before.items():
            after = self.get_buffer(name)
            if after.dtype != buffer.dtype:
                self._buffers[name] = buffer.to(after.device)
        return self

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class QuantizedLinear(FrozenLinear):
    """A linear layer with a quantised W. W cannot be trained or merged into, as both would quantise it again.

    Args:
        bias: (out_features,), or None; the layer stores it frozen, in `compute_dtype`.
        compute_dtype: the dtype of the layer's results by default; adapters are fp64 where it is fp64, else fp32.
    """

    STORAGE: ClassVar[str] = "quantised weights"
    """The storage format in error messages, in the plural."""

    def __init__(self, in_features: int, out_features: int, bias: Tensor | None, compute_dtype: torch.dtype) -> None:
        super().__init__(in_features, out_features, None if bias is None else frozen_parameter(bias, compute_dtype))
        self._compute_dtype = compute_dtype

    @property
    def compute_dtype(self) -> torch.dtype:
        """See `LinearLayer`."""
        return self._compute_dtype

    @property
    def weight_dtype(self) -> torch.dtype:
        """fp32, the dtype in which level × scale is computed."""
        return torch.float32

    @property
    def train_refusal(self) -> str | None:
        """See `LinearLayer`."""
        return f"{self.STORAGE}; choose precision fp32 or bf16, or a method that trains adapters (qlora)"

    @property
    def merge_refusal(self) -> str | None:
        """See `LinearLayer`."""
        return (
            f"has {self.STORAGE}: folding the adapter into them would quantise again and lose what was learned; "
            "`semtune merge --dequantize` writes the same values as plain bf16 weights with the adapter in them"
        )

    def merged(self, update: Callable[[Tensor], Tensor]) -> nn.Module:
        """See `LinearLayer`."""
        raise MergeRefusedError(f"The layer {self.merge_refusal}")


def frozen_parameter(values: Tensor, dtype: torch.dtype) -> nn.Parameter:
    """`values` in `dtype` as a frozen parameter."""
    return nn.Parameter(values.detach().to(dtype), requires_grad=False)


def plain_linear(weight: Tensor, bias: nn.Parameter | None) -> nn.Linear:
    """An nn.Linear with `weight` (out, in), frozen, and the same bias object; nothing is copied."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = bias
    return layer


def bias_gradient(grad_rows: Tensor, needed: bool) -> Tensor | None:
    """The bias gradient (out,): the sum over the rows of the output gradient (rows, out); None if not `needed`."""
    return grad_rows.sum(dim=0) if needed else None


class _FrozenLinear(torch.autograd.Function):
    """y = x Wᵀ + b, (..., in) -> (..., out). No tensor is saved: backward calls the layer's `grad_input`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, layer: LinearLayer) -> Tensor:
        ctx.layer = layer
        return layer.matmul(x, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        needs_x, needs_bias = ctx.needs_input_grad[:2]
        rows = grad_y.reshape(-1, grad_y.shape[-1])
        grad_x = ctx.layer.grad_input(rows).view(*grad_y.shape[:-1], -1) if needs_x else None
        return grad_x, bias_gradient(rows, needs_bias), None


frozen_linear: Callable[..., Tensor] = _FrozenLinear.apply
"""(x, bias in x's dtype or None, `LinearLayer`) -> x Wᵀ + bias, differentiable in x and bias."""
