"""NF4 with double quantisation (Dettmers et al. 2023): stored in 4 bits, or rounded to them and stored dequantised."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semtune.nn.linear import NF4Linear
from semtune.nn.linear.frozen import plain_linear


class NF4Quantization:
    """Weights stay in 4 bits and are dequantised for each product: QLoRA's base."""

    name = "nf4"
    offloadable = False
    note: str | None = None

    def quantize(self, weight: Tensor, bias: Tensor | None, compute_dtype: torch.dtype) -> nn.Module:
        """See `contracts.Quantization`."""
        return NF4Linear.from_weight(weight, bias, compute_dtype)


class NF4CachedQuantization(NF4Quantization):
    """Weights have NF4's values but are stored in the compute dtype: QLoRA's results with LoRA's speed and memory."""

    name = "nf4-cached"

    def quantize(self, weight: Tensor, bias: Tensor | None, compute_dtype: torch.dtype) -> nn.Module:
        """A plain layer: see `contracts.Quantization`."""
        quantized = NF4Linear.from_weight(weight, bias, compute_dtype)
        return plain_linear(quantized.dequantize(compute_dtype), quantized.bias)


NF4 = NF4Quantization()
NF4_CACHED = NF4CachedQuantization()
