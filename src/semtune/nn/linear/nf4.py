"""A frozen linear layer whose weight is stored in NF4, as 4-bit codes and their scales."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from semtune.nn.linear.coded import CodedLinear
from semtune.nn.nf4 import BLOCK, NESTED_BLOCK, NF4Tensor, dequantize_nf4, quantize_nf4


class NF4Linear(CodedLinear):
    """y = x Wᵀ + b with W (out, in) frozen in NF4; differentiable in x and b, computed in x's dtype.

    The buffers are those of `NF4Tensor`; row-shardable where `in_features` is a multiple of 64. `.to(dtype)` and
    `.double()` move but never convert them.

    Args:
        in_features, out_features: the weight's shape is (out_features, in_features).
        bias: whether there is a bias, (out_features,) in `compute_dtype`; it is frozen at first.
        compute_dtype: the default dtype of `dequantize`; adapters are fp64 where it is fp64, else fp32.
    """

    STORAGE: ClassVar[str] = "4-bit weights"

    scales: Tensor
    nested_absmax: Tensor
    offset: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        compute_dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        zeros = torch.zeros(out_features, dtype=compute_dtype, device=device) if bias else None
        super().__init__(in_features, out_features, zeros, compute_dtype)
        count = in_features * out_features
        blocks = -(-count // BLOCK)
        by_rows = in_features % BLOCK == 0
        codes_shape = (out_features, in_features // 2) if by_rows else ((count + 1) // 2,)
        scales_shape = (out_features, in_features // BLOCK) if by_rows else (blocks,)
        self.register_buffer("codes", torch.zeros(codes_shape, dtype=torch.uint8, device=device))
        self.register_buffer("scales", torch.zeros(scales_shape, dtype=torch.uint8, device=device))
        nested = torch.zeros(-(-blocks // NESTED_BLOCK), dtype=torch.float32, device=device)
        self.register_buffer("nested_absmax", nested)
        self.register_buffer("offset", torch.zeros((), dtype=torch.float32, device=device))

    def encoded(self, weight: Tensor) -> dict[str, Tensor]:
        """See `CodedLinear`."""
        quantized = quantize_nf4(weight)
        buffers = {"codes": quantized.codes, "scales": quantized.scales}
        return buffers | {"nested_absmax": quantized.nested_absmax, "offset": quantized.offset}

    @property
    def quantized(self) -> NF4Tensor:
        """The stored codes and scales (no copy)."""
        shape = (self.out_features, self.in_features)
        return NF4Tensor(self.codes, self.scales, self.nested_absmax, self.offset, shape)

    def dequantize(self, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
        """The weight (out, in) in `dtype` (None: `compute_dtype`): level × scale in fp32, rounded once.

        It is written to `out` (out · in,) if given, else to a new tensor.
        """
        return dequantize_nf4(self.quantized, dtype or self.compute_dtype, out)
