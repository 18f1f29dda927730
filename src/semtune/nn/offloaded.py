"""A frozen linear layer whose weight waits in main memory and comes to the device for each product.

For a GPU that is too small for the model: only the layer at work is on the card, the price is the bus (PCIe), which the
weight crosses in the forward and again in the backward. The copy is made on the device's own stream, from pinned memory
where there is a GPU, so no product begins before its weight is there. Nothing is fetched ahead.

What is said here about a GPU has never been run on one: tests run it with the CPU as device.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semtune.nn.linear import DenseProducts, frozen_linear


class OffloadedLinear(DenseProducts, nn.Linear):
    """y = W x + b with W (out, in) frozen in main memory; differentiable in x alone.

    Args:
        linear: its weight is in main memory; it is pinned where that is of use.
        device: where products are computed.
    """

    def __init__(self, linear: nn.Linear, device: torch.device) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.compute_device = device
        weight = linear.weight.detach()
        self.weight = nn.Parameter(weight.pin_memory() if device.type == "cuda" else weight, requires_grad=False)
        bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().to(device), requires_grad=False)
        self.register_parameter("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in x's dtype."""
        return frozen_linear(x, None if self.bias is None else self.bias.to(x.dtype), self)

    def dense(self, dtype: torch.dtype) -> Tensor:
        """W in `dtype` on the device; on a CPU it may be the weight itself."""
        return self.weight.detach().to(self.compute_device, non_blocking=True).to(dtype)
