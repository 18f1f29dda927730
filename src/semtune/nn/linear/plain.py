"""The linear-layer protocol (`contracts.LinearLayer`) for a plain `nn.Linear`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from semtune.contracts import LinearLayer
from semtune.nn import panels
from semtune.nn.linear.prepacked import PrepackedLinear, can_prepack

_METHODS = ("matmul", "grad_input", "dequantize", "merged", "prepack")


class _PlainView:
    """`LinearLayer` over an nn.Linear (see the protocol for every member). It stores only the reference."""

    __slots__ = ("_linear",)

    def __init__(self, linear: nn.Linear) -> None:
        self._linear = linear

    @property
    def in_features(self) -> int:
        return self._linear.in_features

    @property
    def out_features(self) -> int:
        return self._linear.out_features

    @property
    def bias(self) -> nn.Parameter | None:
        return self._linear.bias

    @property
    def compute_dtype(self) -> torch.dtype:
        return self._linear.weight.dtype

    @property
    def weight_dtype(self) -> torch.dtype:
        return self._linear.weight.dtype

    @property
    def device(self) -> torch.device:
        return self._linear.weight.device

    @property
    def weight_numel(self) -> int:
        return self._linear.weight.numel()

    @property
    def weight_bytes(self) -> int:
        return self._linear.weight.numel() * self._linear.weight.element_size()

    @property
    def weight_frozen(self) -> bool:
        return not self._linear.weight.requires_grad

    @property
    def train_refusal(self) -> str | None:
        return None

    @property
    def merge_refusal(self) -> str | None:
        return None

    @property
    def can_prepack(self) -> bool:
        return can_prepack(self._linear)

    def matmul(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        return panels.linear(x, self._linear.weight.detach(), bias)

    def grad_input(self, grad: Tensor) -> Tensor:
        return panels.grad_input(grad, self._linear.weight.detach())

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        return self._linear.weight.detach().to(dtype)

    def merged(self, update: Callable[[Tensor], Tensor]) -> nn.Module:
        weight = self._linear.weight.detach()
        weight.copy_(update(weight))
        return self._linear

    def prepack(self, *, backward: bool) -> nn.Module | None:
        return PrepackedLinear(self._linear, backward=backward) if self.can_prepack else None


def _follows_protocol(module: nn.Module) -> bool:
    kind: Any = type(module)
    return _has_methods(kind)


@functools.cache
def _has_methods(kind: type) -> bool:
    return all(callable(getattr(kind, name, None)) for name in _METHODS)


def is_linear_layer(module: nn.Module) -> bool:
    """Whether `as_linear_layer` accepts `module`: an nn.Linear, or a module with the protocol's methods."""
    return isinstance(module, nn.Linear) or _follows_protocol(module)


def as_linear_layer(module: nn.Module) -> LinearLayer:
    """`module` itself where it has the protocol's methods, else a view of the nn.Linear. Raises TypeError."""
    if _follows_protocol(module):
        return cast(LinearLayer, module)
    if isinstance(module, nn.Linear):
        return _PlainView(module)
    raise TypeError(f"{type(module).__name__} is no linear layer; check is_linear_layer first")


def stored_numel(model: nn.Module) -> int:
    """Number of weights in `model` that are not parameters: quantised, prepacked and offloaded ones."""
    layers = (as_linear_layer(module) for module in model.modules() if _follows_protocol(module))
    return sum(layer.weight_numel for layer in layers)


def total_numel(model: nn.Module) -> int:
    """Number of weights of `model`, tied ones once; a 4-bit weight counts as if dequantised."""
    return stored_numel(model) + sum(p.numel() for p in model.parameters())


def train_refusal(modules: Iterable[nn.Module]) -> str | None:
    """Why the weight of the first linear layer among `modules` that refuses cannot be trained; None where all can."""
    layers = (as_linear_layer(module) for module in modules if is_linear_layer(module))
    return next((layer.train_refusal for layer in layers if layer.train_refusal is not None), None)


def adapter_dtype(compute_dtype: torch.dtype) -> torch.dtype:
    """The dtype of an adapter's parameters in a model that computes in `compute_dtype`: fp64 there, else fp32."""
    return torch.float64 if compute_dtype == torch.float64 else torch.float32
