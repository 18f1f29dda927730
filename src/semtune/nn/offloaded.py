"""CPU offload: a frozen linear layer whose weight stays in main memory and is copied to the device for each matmul.

For a GPU that is too small for the model: it has only the weight of the layer that is running. The weight crosses the
bus (PCIe) in the forward and again in the backward. The copy from pinned memory runs on the device's current stream, so
each matmul waits for its weight. Nothing is prefetched.

The tests of this layer run with the CPU as device, and on a GPU (`-m gpu`; docs/gpu.md).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from semtune.nn.linear import FrozenLinear


class OffloadedLinear(FrozenLinear):
    """y = x Wᵀ + b with W (out, in) frozen in main memory; b is on the device, frozen at first.

    Args:
        linear: a layer with its weight in main memory, which is pinned where the device is a GPU.
        device: the device that computes.
    """

    weight: Tensor

    def __init__(self, linear: nn.Linear, device: torch.device) -> None:
        bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().to(device), requires_grad=False)
        super().__init__(linear.in_features, linear.out_features, bias)
        self._device = device
        weight = linear.weight.detach()
        self.register_buffer("weight", weight.pin_memory() if device.type == "cuda" else weight)

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """W in `dtype` on the device; on a CPU possibly the stored weight itself."""
        return self.weight.to(self._device, non_blocking=True).to(dtype)

    @property
    def weight_dtype(self) -> torch.dtype:
        """See `LinearLayer`."""
        return self.weight.dtype

    @property
    def device(self) -> torch.device:
        """See `LinearLayer`."""
        return self._device

    @property
    def train_refusal(self) -> str | None:
        """See `LinearLayer`."""
        return "weights that are offloaded to main memory; leave --offload-gb out"

    def merged(self, update: Callable[[Tensor], Tensor]) -> nn.Module:
        """See `LinearLayer`; returns this layer with its weight in main memory updated."""
        self.weight.copy_(update(self.dequantize(self.weight_dtype)))
        return self
