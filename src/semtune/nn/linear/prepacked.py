"""A frozen linear layer whose bf16 weight is prepacked: reordered once into the blocked layout of oneDNN."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtune.nn.kernels import in_main_memory
from semtune.nn.linear.frozen import FrozenLinear, plain_linear
from semtune.nn.operator_registry import composite, moved
from semtune.runtime.processor import native_bf16


class PrepackedLinear(FrozenLinear):
    """y = x Wᵀ + b with W (out, in) frozen and prepacked in bf16, once for `matmul` and once for `grad_input`.

    oneDNN reorders a plain weight in every call. Prepacked, matmuls were 1.15 to 1.3 times as fast at 384 to 768 rows
    and up to 3 times at 1 to 20 (sizes of SmolLM2-135M, 2 cores), with the same bits except on AMX. The backward needs
    a second copy of the weight.

    Args:
        linear: its weight is bf16 in main memory; its bias object becomes this layer's, trained or not.
        backward: whether gradients flow through the layer; without them there is no second copy.
    """

    def __init__(self, linear: nn.Linear, *, backward: bool = True) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias)
        weight = linear.weight.detach()
        self._forward = _prepack(weight)
        self._backward = _prepack(weight.t().contiguous()) if backward else None

    def matmul(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `LinearLayer`."""
        if x.dtype != torch.bfloat16:
            return super().matmul(x, bias)
        return _prepacked_matmul(x, self._forward, bias)

    def grad_input(self, grad: Tensor) -> Tensor:
        """See `LinearLayer`."""
        if grad.dtype != torch.bfloat16 or self._backward is None:
            return super().grad_input(grad)
        return _prepacked_matmul(grad, self._backward)

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """See `LinearLayer`; always a new tensor."""
        weight: Tensor = self._forward.to_dense() if self._forward.is_mkldnn else self._forward.clone()
        return weight.to(dtype)

    @property
    def weight_dtype(self) -> torch.dtype:
        """See `LinearLayer`."""
        return torch.bfloat16

    @property
    def device(self) -> torch.device:
        """See `LinearLayer`."""
        device: torch.device = self._forward.device
        return device

    @property
    def weight_bytes(self) -> int:
        """See `LinearLayer`."""
        return self.weight_numel * torch.bfloat16.itemsize

    @property
    def train_refusal(self) -> str | None:
        """See `LinearLayer`."""
        return "prepacked weights; attach the method before prepacking"

    def merged(self, update: Callable[[Tensor], Tensor]) -> nn.Module:
        """A plain bf16 layer: see `LinearLayer`."""
        weight = self.dequantize(torch.bfloat16)
        weight.copy_(update(weight))
        return plain_linear(weight, self.bias)


def can_prepack(linear: nn.Linear) -> bool:
    """Whether `PrepackedLinear` can replace it: W is frozen bf16 in main memory, and the CPU has bf16 hardware."""
    return (
        type(linear) is nn.Linear
        and not linear.weight.requires_grad
        and linear.weight.dtype == torch.bfloat16
        and linear.weight.device.type == "cpu"
        and in_main_memory(linear.weight.detach())
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and native_bf16("cpu")
    )


_USUAL_ROWS = 384  # oneDNN chose the same layout for 32 and for 384 rows


@composite("prepack_weight(Tensor weight) -> Tensor", outputs=torch.empty_like, cost=moved)
def _prepack(weight: Tensor) -> Tensor:
    """A copy of `weight` in oneDNN's blocked layout; a fake tensor stays a plain one."""
    prepacked: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, _USUAL_ROWS)
    return prepacked


def _prepacked_matmul(x: Tensor, prepacked: Tensor, bias: Tensor | None = None) -> Tensor:
    if not prepacked.is_mkldnn:
        return F.linear(x, prepacked, bias)
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, prepacked, bias, "none", [], "")
    return y
