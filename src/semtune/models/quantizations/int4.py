"""INT4 with a scale and a float zero point for each row and group of 32 inputs (`nn.int4`): QA-LoRA's base."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semtune.nn.linear import Int4Linear


class Int4Quantization:
    """Weights stay in 4 bits and are dequantised for each product."""

    name = "int4"
    offloadable = False
    note: str | None = None

    def quantize(self, weight: Tensor, bias: Tensor | None, compute_dtype: torch.dtype) -> nn.Module:
        """See `contracts.Quantization`."""
        return Int4Linear.from_weight(weight, bias, compute_dtype)

    def empty(self, in_features: int, out_features: int, bias: bool, compute_dtype: torch.dtype) -> nn.Module:
        """See `contracts.StoredQuantization`."""
        return Int4Linear(in_features, out_features, bias, compute_dtype, device="meta")


INT4 = Int4Quantization()
