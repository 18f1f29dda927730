"""A frozen linear layer whose weight stays in main memory and is copied to the device for each product.

For a GPU that is too small for the model: only the weight of the layer at work is on the card. The price is the bus
(PCIe), which the weight crosses in the forward and again in the backward. The copy runs on the device's own stream,
from pinned memory where there is a GPU, so no product begins before its weight has arrived. Nothing is prefetched.

The CUDA code path has never run on a GPU: tests run it with the CPU as device.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from semtune.nn.linear import FrozenLinear


class OffloadedLinear(FrozenLinear):
    """y = x Wᵀ + b with W (out, in) frozen in main memory; b, on the device, starts frozen too.

    Args:
        linear: its weight is in main memory; it is pinned where the device is a GPU.
        device: where products run.
    """

    weight: Tensor

    def __init__(self, linear: nn.Linear, device: torch.device) -> None:
        bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().to(device), requires_grad=False)
        super().__init__(linear.in_features, linear.out_features, bias)
        self._device = device
        weight = linear.weight.detach()
        self.register_buffer("weight", weight.pin_memory() if device.type == "cuda" else weight)

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """W in `dtype` on the device; on a CPU it may be the stored weight itself."""
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
        """This layer, its weight changed in main memory: see `LinearLayer`."""
        self.weight.copy_(update(self.dequantize(self.weight_dtype)))
        return self
