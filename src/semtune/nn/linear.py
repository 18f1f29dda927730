"""Frozen linear layers: a 4-bit one, and one way of asking any of them for its weight.

`NF4Linear` keeps nothing but packed codes and scales between calls. Its forward and its backward each unpack the weight
into one transient (out, in) tensor: the second unpacking is the price of QLoRA's memory (Dettmers et al. 2023, eq. 5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from semtune.nn.nf4 import BLOCK, NESTED_BLOCK, NF4Tensor, dequantize_nf4, quantize_nf4


class NF4Linear(nn.Module):
    """y = W x + b with W (out, in) frozen in NF4; differentiable in x alone, computed in x's dtype.

    The buffers are those of `NF4Tensor`; row-shardable where `in_features` is a multiple of 64. `.to(dtype)` and
    `.double()` move but never convert them.

    Args:
        in_features, out_features: the weight's shape is (out_features, in_features).
        bias: whether there is a bias, (out_features,) in `compute_dtype`; frozen too.
        compute_dtype: what `dequantize()` gives without a dtype; adapters take fp64 masters where it is fp64.
    """

    codes: Tensor
    scales: Tensor
    nested_absmax: Tensor
    offset: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        compute_dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.compute_dtype = in_features, out_features, compute_dtype
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
        self.register_buffer("bias", torch.zeros(out_features, dtype=compute_dtype, device=device) if bias else None)

    @classmethod
    def from_weight(
        cls, weight: Tensor, bias: Tensor | None = None, compute_dtype: torch.dtype | None = None
    ) -> NF4Linear:
        """Quantise `weight` (out, in). `compute_dtype` None: the weight's own."""
        rows, columns = weight.shape
        layer = cls(columns, rows, bias is not None, compute_dtype or weight.dtype, device="meta")
        packed = quantize_nf4(weight)
        layer.codes, layer.scales = packed.codes, packed.scales
        layer.nested_absmax, layer.offset = packed.nested_absmax, packed.offset
        layer.bias = None if bias is None else bias.detach().to(layer.compute_dtype)
        return layer

    @property
    def packed_numel(self) -> int:
        """Numbers in the weight, which is no parameter."""
        return self.in_features * self.out_features

    @property
    def packed(self) -> NF4Tensor:
        """The weight as it is stored (no copy)."""
        shape = (self.out_features, self.in_features)
        return NF4Tensor(self.codes, self.scales, self.nested_absmax, self.offset, shape)

    def dequantize(self, dtype: torch.dtype | None = None) -> Tensor:
        """The weight (out, in) as a new tensor in `dtype` (None: `compute_dtype`): fp32 product, rounded once."""
        return dequantize_nf4(self.packed, dtype or self.compute_dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in x's dtype."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return _frozen_linear(x, bias, frozen_weight(self))

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> NF4Linear:
        """Every `.to()` comes through here; scales that were rounded would not be the quantised weight any more."""
        nested_absmax, offset = self.nested_absmax, self.offset
        convert: Callable[..., Any] = super()._apply
        convert(fn, recurse)
        if self.nested_absmax.dtype != torch.float32:
            self.nested_absmax = nested_absmax.to(self.nested_absmax.device)
            self.offset = offset.to(self.offset.device)
        return self


def frozen_weight(base: nn.Linear | NF4Linear) -> Callable[[torch.dtype], Tensor]:
    """A function dtype -> (out, in) weight of `base`: the weight itself where it has that dtype, else a new tensor."""
    if isinstance(base, NF4Linear):
        return base.dequantize
    return lambda dtype: base.weight.detach().to(dtype)


def base_dtype(base: nn.Linear | NF4Linear) -> torch.dtype:
    """The dtype that `base` computes in when left to itself."""
    return base.compute_dtype if isinstance(base, NF4Linear) else base.weight.dtype


class _FrozenLinear(torch.autograd.Function):
    """y = x W^T + b, (..., in) -> (..., out); `weight_of` gives W anew in backward, so nothing is kept in between."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, weight_of: Callable[[torch.dtype], Tensor]) -> Tensor:
        ctx.weight_of = weight_of
        return F.linear(x, weight_of(x.dtype), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None
        return grad_y @ ctx.weight_of(grad_y.dtype), None, None  # (..., out) x (out, in) -> (..., in)


_frozen_linear: Callable[..., Tensor] = _FrozenLinear.apply
