"""A frozen linear layer whose weight is stored in NF4, as 4-bit codes and their scales.

Forward and backward each dequantise the weight (QLoRA, Dettmers et al. 2023, eq. 5): the dequantised weight is never
saved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from semtune.nn.kernels import in_main_memory
from semtune.nn.linear.frozen import QuantizedLinear, frozen_parameter
from semtune.nn.nf4 import BLOCK, NESTED_BLOCK, NF4Tensor, dequantize_nf4, quantize_nf4


class NF4Linear(QuantizedLinear):
    """y = x Wᵀ + b with W (out, in) frozen in NF4; differentiable in x and b, computed in x's dtype.

    The buffers are those of `NF4Tensor`; row-shardable where `in_features` is a multiple of 64. `.to(dtype)` and
    `.double()` move but never convert them.

    Args:
        in_features, out_features: the weight's shape is (out_features, in_features).
        bias: whether there is a bias, (out_features,) in `compute_dtype`; it is frozen at first.
        compute_dtype: the default dtype of `dequantize`; adapters are fp64 where it is fp64, else fp32.
    """

    STORAGE: ClassVar[str] = "4-bit weights"

    codes: Tensor
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

    @classmethod
    def from_weight(
        cls, weight: Tensor, bias: Tensor | None = None, compute_dtype: torch.dtype | None = None
    ) -> NF4Linear:
        """A layer with `weight` (out, in) quantised. `compute_dtype` None: the weight's dtype."""
        rows, columns = weight.shape
        layer = cls(columns, rows, bias is not None, compute_dtype or weight.dtype, device="meta")
        quantized = quantize_nf4(weight)
        layer.codes, layer.scales = quantized.codes, quantized.scales
        layer.nested_absmax, layer.offset = quantized.nested_absmax, quantized.offset
        if bias is not None:
            layer.bias = frozen_parameter(bias, layer.compute_dtype)
        return layer

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

    def _transient_weight(self, dtype: torch.dtype) -> Tensor:
        """The weight in `dtype`; on a CPU it lies in a buffer that all 4-bit layers share."""
        return _buffers[type(self.codes)].unpack(self, dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> NF4Linear:
        """Called by `.to()` and the like; keeps the scales in fp32, because rounding them would change the weight."""
        nested_absmax, offset = self.nested_absmax, self.offset
        convert: Callable[..., Any] = super()._apply
        convert(fn, recurse)
        if self.nested_absmax.dtype != torch.float32:
            self.nested_absmax = nested_absmax.to(self.nested_absmax.device)
            self.offset = offset.to(self.offset.device)
        return self


class _Buffer:
    """A buffer into which 4-bit layers dequantise their weights on a CPU, one at a time. Not thread-safe.

    The system maps memory of large tensors page by page; mapping 33 MB for every matmul took longer than filling them.
    """

    def __init__(self) -> None:
        self._numbers: dict[torch.dtype, Tensor] = {}
        self._current: dict[torch.dtype, tuple[Tensor, int]] = {}
        """The codes that were dequantised last, and their version counter, by dtype."""

    def unpack(self, layer: NF4Linear, dtype: torch.dtype) -> Tensor:
        if not in_main_memory(layer.codes):
            return layer.dequantize(dtype)
        numbers = self._numbers.get(dtype)
        if numbers is None or numbers.numel() < layer.weight_numel or not _same_mode(numbers, layer.codes):
            numbers = self._numbers[dtype] = torch.empty(layer.weight_numel, dtype=dtype)
            self._current.pop(dtype, None)
        current = self._current.get(dtype)
        if current is not None and current[0] is layer.codes and current[1] == layer.codes._version:
            return numbers[: layer.weight_numel].view(layer.out_features, layer.in_features)
        self._current[dtype] = (layer.codes, layer.codes._version)
        return layer.dequantize(dtype, numbers[: layer.weight_numel])


_buffers: dict[type, _Buffer] = defaultdict(_Buffer)
"""One buffer for each tensor class, because fake tensors must not use the memory of real ones."""


def _same_mode(a: Tensor, b: Tensor) -> bool:
    """Whether both are real tensors, or both fake tensors of the same FakeTensorMode."""
    return getattr(a, "fake_mode", None) is getattr(b, "fake_mode", None)
