"""fp64 for sums whose rounding would show; fp32 on Apple's GPU, which has no fp64."""

from __future__ import annotations

import torch
from torch import Tensor


def wide_dtype(device: torch.device) -> torch.dtype:
    """The widest floating-point dtype of a device: fp64, or fp32 on "mps"."""
    return torch.float32 if device.type == "mps" else torch.float64


def wide(x: Tensor) -> Tensor:
    """`x` in its device's widest floating-point dtype."""
    return x.to(wide_dtype(x.device))
