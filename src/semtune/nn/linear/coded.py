"""A quantised linear layer whose weight is dequantised for each matmul, on a CPU into a buffer that all of them share.

Forward and backward each dequantise the weight (QLoRA, Dettmers et al. 2023, eq. 5): the dequantised weight is never
saved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from semtune.nn.kernels import in_main_memory
from semtune.nn.linear.frozen import QuantizedLinear, frozen_parameter


class CodedLinear(QuantizedLinear):
    """y = x Wᵀ + b with W (out, in) frozen as codes and their scales, all in buffers; computed in x's dtype.

    A subclass is constructed with (in_features, out_features, bias, compute_dtype, device) and defines `encoded` and
    `dequantize`. `.to(dtype)` and `.double()` move its buffers and never convert them, because rounding scales would
    change the weight.
    """

    codes: Tensor

    @classmethod
    def from_weight(cls, weight: Tensor, bias: Tensor | None = None, compute_dtype: torch.dtype | None = None) -> Self:
        """A layer with `weight` (out, in) quantised. `compute_dtype` None: the weight's dtype."""
        rows, columns = weight.shape
        make: Callable[..., Self] = cls
        layer = make(columns, rows, bias is not None, compute_dtype or weight.dtype, device="meta")
        for name, values in layer.encoded(weight).items():
            setattr(layer, name, values)
        if bias is not None:
            layer.bias = frozen_parameter(bias, layer.compute_dtype)
        return layer

    def encoded(self, weight: Tensor) -> dict[str, Tensor]:
        """The buffers, by name, that `weight` (out, in) is quantised to."""
        raise NotImplementedError

    def dequantize(self, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
        """The weight (out, in) in `dtype` (None: `compute_dtype`), rounded once.

        It is written to `out` (`dequantized_numel`,) if given, else to a new tensor.
        """
        raise NotImplementedError

    @property
    def dequantized_numel(self) -> int:
        """Number of elements that `dequantize` writes."""
        return self.weight_numel

    def _transient_weight(self, dtype: torch.dtype) -> Tensor:
        """The weight in `dtype`; on a CPU it lies in a buffer that all coded layers share."""
        return _buffers[type(self.codes)].dequantized(self, dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Called by `.to()` and the like; keeps the buffers' dtypes."""
        return self._apply_without_converting(fn, recurse)


class _Buffer:
    """A buffer into which coded layers dequantise their weights on a CPU, one at a time. Not thread-safe.

    The system maps memory of large tensors page by page; mapping 33 MB for every matmul took longer than filling them.
    """

    def __init__(self) -> None:
        self._numbers: dict[torch.dtype, Tensor] = {}
        self._current: dict[torch.dtype, tuple[Tensor, list[tuple[Tensor | None, int]]]] = {}
        """The weight that was dequantised last, and its layer's buffers with their version counters, by dtype."""

    def dequantized(self, layer: CodedLinear, dtype: torch.dtype) -> Tensor:
        if not in_main_memory(layer.codes):
            return layer.dequantize(dtype)
        numbers = self._numbers.get(dtype)
        if numbers is None or numbers.numel() < layer.dequantized_numel or not _same_mode(numbers, layer.codes):
            numbers = self._numbers[dtype] = torch.empty(layer.dequantized_numel, dtype=dtype)
            self._current.pop(dtype, None)
        stored = [(buffer, 0 if buffer is None else buffer._version) for buffer in layer._buffers.values()]
        current = self._current.get(dtype)
        if current is not None and _unchanged(current[1], stored):
            return current[0]
        weight = layer.dequantize(dtype, numbers[: layer.dequantized_numel])
        self._current[dtype] = (weight, stored)
        return weight


_buffers: dict[type, _Buffer] = defaultdict(_Buffer)
"""One buffer for each tensor class, because fake tensors must not use the memory of real ones."""


def _unchanged(before: list[tuple[Tensor | None, int]], now: list[tuple[Tensor | None, int]]) -> bool:
    """Whether both are the same tensors, unchanged in place."""
    return len(before) == len(now) and all(
        a is b and version == other for (a, version), (b, other) in zip(before, now, strict=True)
    )


def _same_mode(a: Tensor, b: Tensor) -> bool:
    """Whether both are real tensors, or both fake tensors of the same FakeTensorMode."""
    return getattr(a, "fake_mode", None) is getattr(b, "fake_mode", None)
