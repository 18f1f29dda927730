"""Frozen linear layers, and what their neighbours ask of any of them: two products and the weight.

`PrepackedLinear` keeps a bf16 weight in the order that oneDNN multiplies in. `NF4Linear` keeps nothing but packed codes
and scales between calls; its forward and its backward each unpack the weight: the second unpacking is the price of
QLoRA's memory (Dettmers et al. 2023, eq. 5).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from semtune.nn.kernels import in_main_memory
from semtune.nn.nf4 import BLOCK, NESTED_BLOCK, NF4Tensor, dequantize_nf4, quantize_nf4
from semtune.nn.operator_registry import composite, moved
from semtune.runtime.processor import native_bf16


class FrozenWeight(Protocol):
    """A weight W (out, in) that is not trained, however it is kept."""

    def product(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x Wᵀ + bias in x's dtype: (..., in) and (out,) -> (..., out)."""
        ...

    def grad_input(self, grad: Tensor) -> Tensor:
        """grad W in grad's dtype: (rows, out) -> (rows, in)."""
        ...

    def dense(self, dtype: torch.dtype) -> Tensor:
        """W in `dtype`, for reading alone and for a short while: it may be the weight itself, or a shared buffer."""
        ...


class DenseProducts:
    """Both products of a `FrozenWeight` out of what its `dense` gives."""

    def product(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `FrozenWeight`."""
        return F.linear(x, self.dense(x.dtype), bias)

    def grad_input(self, grad: Tensor) -> Tensor:
        """See `FrozenWeight`."""
        return grad @ self.dense(grad.dtype)

    def dense(self, dtype: torch.dtype) -> Tensor:
        """See `FrozenWeight`."""
        raise NotImplementedError


class _Plain(DenseProducts):
    """The weight of an nn.Linear."""

    def __init__(self, linear: nn.Linear) -> None:
        self._weight = linear.weight

    def dense(self, dtype: torch.dtype) -> Tensor:
        return self._weight.detach().to(dtype)


class PrepackedLinear(DenseProducts, nn.Module):
    """y = W x + b with W (out, in) frozen in bf16 and laid out for oneDNN, once for each direction of the product.

    Handed a plain matrix, oneDNN copies it into blocks in every product; laid out beforehand, products were 1.15 to 1.3
    times as fast at 384 to 768 rows and up to 3 times at 1 to 20, with the same bits (SmolLM2-135M's sizes, 2 cores).
    The price is a second copy of the weight, for the backward.

    Args:
        linear: its weight is bf16 in main memory.
        backward: whether gradients will be asked for; without them there is no second copy.
    """

    bias: Tensor | None

    def __init__(self, linear: nn.Linear, *, backward: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.has_backward = backward
        weight = linear.weight.detach()
        self._forward = _laid_out(weight)
        self._backward = _laid_out(weight.t().contiguous()) if backward else None
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    @property
    def packed_numel(self) -> int:
        """Numbers in the weight, which is no parameter."""
        return self.in_features * self.out_features

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in x's dtype."""
        return frozen_linear(x, None if self.bias is None else self.bias.to(x.dtype), self)

    def product(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `FrozenWeight`."""
        if x.dtype != torch.bfloat16:
            return super().product(x, bias)
        return _packed_product(x, self._forward, bias)

    def grad_input(self, grad: Tensor) -> Tensor:
        """See `FrozenWeight`."""
        if grad.dtype != torch.bfloat16 or self._backward is None:
            return super().grad_input(grad)
        return _packed_product(grad, self._backward)

    def dense(self, dtype: torch.dtype) -> Tensor:
        """See `FrozenWeight`; here always a new tensor."""
        weight: Tensor = self._forward.to_dense() if self._forward.is_mkldnn else self._forward.clone()
        return weight.to(dtype)

    def linear(self) -> nn.Linear:
        """A frozen nn.Linear with this weight and bias."""
        return _plain_linear(self.dense(torch.bfloat16), self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def _plain_linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


_USUAL_ROWS = 384  # oneDNN chose the same layout for 32 and for 384 rows


@composite("prepack_weight(Tensor weight) -> Tensor", outputs=torch.empty_like, cost=moved)
def _laid_out(weight: Tensor) -> Tensor:
    """A copy of `weight` in oneDNN's order (a fake one has no order)."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, _USUAL_ROWS)
    return packed


def _packed_product(x: Tensor, packed: Tensor, bias: Tensor | None = None) -> Tensor:
    if not packed.is_mkldnn:
        return F.linear(x, packed, bias)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return product


def can_prepack(linear: nn.Module) -> bool:
    """Whether `PrepackedLinear` can stand in for it: frozen, bf16, in main memory, where oneDNN is and is fast in bf16."""
    return (
        type(linear) is nn.Linear
        and not linear.weight.requires_grad
        and linear.weight.dtype == torch.bfloat16
        and linear.weight.device.type == "cpu"
        and in_main_memory(linear.weight.detach())
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and native_bf16("cpu")
    )


class NF4Linear(DenseProducts, nn.Module):
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

    def dequantize(self, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
        """The weight (out, in) in `dtype` (None: `compute_dtype`): fp32 product, rounded once.

        A new tensor, or in `out` (out · in,).
        """
        return dequantize_nf4(self.packed, dtype or self.compute_dtype, out)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in x's dtype."""
        return frozen_linear(x, None if self.bias is None else self.bias.to(x.dtype), self)

    def dense(self, dtype: torch.dtype) -> Tensor:
        """See `FrozenWeight`: on a CPU in a buffer that all 4-bit layers share, valid until another one is asked."""
        return _buffers[type(self.codes)].unpack(self, dtype)

    def linear(self) -> nn.Linear:
        """A frozen nn.Linear with the unpacked weight in `compute_dtype`, and this bias."""
        return _plain_linear(self.dequantize(), self.bias)

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


def frozen_weight(base: nn.Linear | NF4Linear | PrepackedLinear) -> FrozenWeight:
    """The weight of `base`: itself, where it is of a kind that has its own products."""
    kind: Any = base
    weight: FrozenWeight = kind if hasattr(base, "grad_input") else _Plain(kind)
    return weight


class _Buffer:
    """Where 4-bit layers unpack their weights on a CPU, one at a time. Not for several threads at once.

    Large tensors come from the system page by page, and mapping 33 MB anew for every product took longer than filling
    them.
    """

    def __init__(self) -> None:
        self._numbers: dict[torch.dtype, Tensor] = {}
        self._held: dict[torch.dtype, tuple[Tensor, int]] = {}
        """The codes that were unpacked last, and their version."""

    def unpack(self, layer: NF4Linear, dtype: torch.dtype) -> Tensor:
        if not in_main_memory(layer.codes):
            return layer.dequantize(dtype)
        numbers = self._numbers.get(dtype)
        if numbers is None or numbers.numel() < layer.packed_numel or not _same_mode(numbers, layer.codes):
            numbers = self._numbers[dtype] = torch.empty(layer.packed_numel, dtype=dtype)
            self._held.pop(dtype, None)
        held = self._held.get(dtype)
        if held is not None and held[0] is layer.codes and held[1] == layer.codes._version:
            return numbers[: layer.packed_numel].view(layer.out_features, layer.in_features)
        self._held[dtype] = (layer.codes, layer.codes._version)
        return layer.dequantize(dtype, numbers[: layer.packed_numel])


_buffers: dict[type, _Buffer] = defaultdict(_Buffer)
"""By type of tensor, as fake ones must not be written to ordinary ones' memory."""


def _same_mode(a: Tensor, b: Tensor) -> bool:
    """Whether both are ordinary tensors, or fake ones of one FakeTensorMode."""
    return getattr(a, "fake_mode", None) is getattr(b, "fake_mode", None)


def base_dtype(base: nn.Linear | NF4Linear | PrepackedLinear) -> torch.dtype:
    """The dtype that `base` computes in when left to itself."""
    if isinstance(base, PrepackedLinear):
        return torch.bfloat16
    return base.compute_dtype if isinstance(base, NF4Linear) else base.weight.dtype


class _FrozenLinear(torch.autograd.Function):
    """y = x W^T + b, (..., in) -> (..., out); nothing is kept in between, W is asked for anew in backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, weight: FrozenWeight) -> Tensor:
        ctx.weight = weight
        return weight.product(x, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None
        rows = grad_y.reshape(-1, grad_y.shape[-1])
        return ctx.weight.grad_input(rows).view(*grad_y.shape[:-1], -1), None, None


frozen_linear: Callable[..., Tensor] = _FrozenLinear.apply
"""(x, bias, weight) -> x Wᵀ + bias for any `FrozenWeight`."""
