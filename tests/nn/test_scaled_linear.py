"""(IA)³'s scaled linear layers against their formula in fp64, over every kind of linear layer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtune.errors import MergeRefusedError
from semtune.nn import column_scaling, kernels
from semtune.nn.linear import NF4Linear, UpcastLinear, as_linear_layer
from semtune.nn.offloaded import OffloadedLinear
from semtune.nn.scaled_linear import ScaledLinear

IN, OUT = 64, 24
SIDES = pytest.mark.parametrize("on_input", [False, True], ids=["output", "input"])
EXACT = {"rtol": 0.0, "atol": 1e-10}


def base(kind: str, dtype: torch.dtype, bias: bool) -> nn.Module:
    torch.manual_seed(0)
    linear = nn.Linear(IN, OUT, bias=bias, dtype=dtype)
    if kind == "upcast":
        return UpcastLinear(linear.weight.detach().bfloat16(), linear.bias, dtype)
    if kind == "nf4":
        return NF4Linear.from_weight(linear.weight, linear.bias)
    return OffloadedLinear(linear, torch.device("cpu")) if kind == "offloaded" else linear


def scaled(kind: str, on_input: bool, dtype: torch.dtype = torch.float64, bias: bool = True) -> ScaledLinear:
    layer = ScaledLinear(base(kind, dtype, bias), on_input=on_input)
    with torch.no_grad():
        layer.scale.copy_(1 + 0.3 * torch.randn(layer.scale.shape, generator=torch.Generator().manual_seed(4)))
    return layer


def formula(layer: ScaledLinear, x: Tensor, scale: Tensor) -> Tensor:
    """l ⊙ (W x + b), or W (l ⊙ x) + b, written out in fp64."""
    inner = as_linear_layer(layer.base)
    bias = None if inner.bias is None else inner.bias.double()
    weight = inner.dequantize(torch.float64)
    return F.linear(x * scale, weight, bias) if layer.on_input else F.linear(x, weight, bias) * scale


@SIDES
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["plain", "nf4", "offloaded", "upcast"])
def test_output_and_gradients_are_the_formulas(kind: str, bias: bool, on_input: bool) -> None:
    layer = scaled(kind, on_input, bias=bias)
    x = torch.randn(2, 5, IN, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    again, scale = x.detach().clone().requires_grad_(), layer.scale.detach().clone().requires_grad_()
    upstream = torch.randn(2, 5, OUT, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    y, expected = layer(x), formula(layer, again, scale)
    torch.testing.assert_close(y, expected, **EXACT)
    y.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(x.grad, again.grad, **EXACT)
    torch.testing.assert_close(layer.scale.grad, scale.grad, **EXACT)
    assert [n for n, p in layer.named_parameters() if p.requires_grad] == ["scale"]


@SIDES
def test_gradcheck(on_input: bool) -> None:
    layer = scaled("plain", on_input)

    def call(x: Tensor, scale: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"scale": scale}, (x,))

    x = torch.randn(3, IN, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(call, (x, layer.scale.detach().clone().requires_grad_()))


@SIDES
def test_without_a_gradient_for_x(on_input: bool) -> None:
    """The lowest layer of the model."""
    layer = scaled("plain", on_input)
    layer(torch.ones(3, IN, dtype=torch.float64)).sum().backward()
    assert layer.scale.grad is not None and layer.scale.grad.abs().max() > 0


@SIDES
@pytest.mark.parametrize("kind", ["plain", "offloaded", "upcast"])
def test_merged_is_the_same_function(kind: str, on_input: bool) -> None:
    layer = scaled(kind, on_input)
    x = torch.randn(4, IN, dtype=torch.float64)
    before = layer(x)
    torch.testing.assert_close(layer.merged()(x), before, **EXACT)


@SIDES
def test_merging_rounds_once(on_input: bool) -> None:
    layer = scaled("plain", on_input, torch.bfloat16)
    weight = layer.base.weight.float() * (layer.scale if on_input else layer.scale[:, None])
    bias = layer.base.bias.float() * (1 if on_input else layer.scale)
    merged = layer.merged()
    assert torch.equal(merged.weight, weight.bfloat16()) and torch.equal(merged.bias, bias.bfloat16())


@SIDES
def test_4_bits_do_not_merge(on_input: bool) -> None:
    layer = scaled("nf4", on_input)
    bias = layer.base.bias.clone()
    with pytest.raises(MergeRefusedError, match="4-bit"):
        layer.merged()
    assert torch.equal(layer.base.bias, bias)


@SIDES
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("compiled", [False, True])
def test_low_precision_stays_near_the_formula(
    dtype: torch.dtype, on_input: bool, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the compiled loop where there is one, and by torch's operations."""
    if compiled and kernels.library() is None:
        pytest.skip("no compiled kernels here")
    if not compiled:
        monkeypatch.setattr(column_scaling, "supports", lambda *tensors: False)
    layer = scaled("plain", on_input, dtype)
    x = torch.randn(7, IN, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()
    wide, scale = x.detach().double().requires_grad_(), layer.scale.detach().double().requires_grad_()
    upstream = torch.randn(7, OUT, generator=torch.Generator().manual_seed(2)).to(dtype)
    y, expected = layer(x), formula(copy.deepcopy(layer), wide, scale)
    y.backward(upstream)
    expected.backward(upstream.double())
    tolerance = {"rtol": 2e-2, "atol": 3e-2} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    assert y.dtype == x.grad.dtype == dtype and layer.scale.grad.dtype == torch.float32
    for found, exact in ((y, expected), (x.grad, wide.grad), (layer.scale.grad, scale.grad)):
        torch.testing.assert_close(found.double(), exact, **tolerance)


def test_a_factor_of_zero_gives_finite_gradients() -> None:
    layer = scaled("plain", False)
    layer.scale.data[3] = 0.0
    layer(torch.ones(2, IN, dtype=torch.float64)).sum().backward()
    assert layer.scale.grad.isfinite().all()
