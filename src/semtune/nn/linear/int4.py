"""A frozen linear layer whose weight is stored in INT4: 4-bit codes, scales and float zero points (`nn.int4`)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from semtune.nn.int4 import GROUP, Int4Tensor, dequantize_int4, group_count, quantize_int4, shifted_zeros
from semtune.nn.linear.coded import CodedLinear


class Int4Linear(CodedLinear):
    """y = x Wᵀ + b with W (out, in) frozen in INT4; differentiable in x and b, computed in x's dtype.

    The buffers are those of `Int4Tensor`: `codes`, `scales` and `zeros`, all of whose rows belong to one output, so all
    can be sharded by rows. Zero points are fp64 where `compute_dtype` is, else fp32.

    Args:
        in_features, out_features: the weight's shape is (out_features, in_features).
        bias: whether there is a bias, (out_features,) in `compute_dtype`; it is frozen at first.
        compute_dtype: the default dtype of `dequantize`; adapters are fp64 where it is fp64, else fp32.
    """

    STORAGE: ClassVar[str] = "4-bit weights"
    group_size: ClassVar[int] = GROUP
    """Consecutive inputs whose weights share a scale and a zero point in every row."""

    scales: Tensor
    zeros: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        compute_dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        values = torch.zeros(out_features, dtype=compute_dtype, device=device) if bias else None
        super().__init__(in_features, out_features, values, compute_dtype)
        groups = group_count(in_features)
        codes = torch.zeros(out_features, groups * GROUP // 2, dtype=torch.uint8, device=device)
        self.register_buffer("codes", codes)
        self.register_buffer("scales", torch.ones(out_features, groups, dtype=torch.bfloat16, device=device))
        zeros = torch.zeros(out_features, groups, dtype=zeros_dtype(compute_dtype), device=device)
        self.register_buffer("zeros", zeros)

    def encoded(self, weight: Tensor) -> dict[str, Tensor]:
        """See `CodedLinear`."""
        quantized = quantize_int4(weight, zeros_dtype(self.compute_dtype))
        return {"codes": quantized.codes, "scales": quantized.scales, "zeros": quantized.zeros}

    @property
    def quantized(self) -> Int4Tensor:
        """The stored codes, scales and zero points (no copy)."""
        return Int4Tensor(self.codes, self.scales, self.zeros, self.in_features)

    @property
    def groups(self) -> int:
        """Groups of a row; the last one is partial where `in_features` is no multiple of `group_size`."""
        return group_count(self.in_features)

    @property
    def weight_dtype(self) -> torch.dtype:
        """See `LinearLayer`: the dtype of the zero points."""
        return self.zeros.dtype

    @property
    def dequantized_numel(self) -> int:
        """See `CodedLinear`: rows are as long as their groups."""
        return self.out_features * self.groups * GROUP

    def dequantize(self, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
        """See `CodedLinear`."""
        return dequantize_int4(self.quantized, dtype or self.compute_dtype, out)

    @torch.no_grad()
    def add_to_groups(self, delta: Tensor) -> None:
        """W_ij += delta_ig for every weight j of group g, in place; `delta` is (out, groups).

        Codes and scales stay: the zero points alone change, rounded once to their dtype.
        """
        self.zeros.copy_(shifted_zeros(self.zeros, self.scales, delta))


def zeros_dtype(compute_dtype: torch.dtype) -> torch.dtype:
    """The dtype of the zero points in a layer that computes in `compute_dtype`."""
    return torch.float64 if compute_dtype == torch.float64 else torch.float32
