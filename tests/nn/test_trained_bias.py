"""A bias that is trained beside a frozen weight, in every kind of linear layer, alone and under a low-rank adapter."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtune.nn.linear import Int4Linear, NF4Linear, PrepackedLinear, as_linear_layer, frozen, plain, prepacked
from semtune.nn.low_rank import LowRankLinear
from semtune.nn.offloaded import OffloadedLinear

IN, OUT = 64, 24
KINDS = ["plain", "prepacked", "nf4", "int4", "offloaded"]
EXACT = {"rtol": 0.0, "atol": 1e-10}
TOLERANCE = {torch.float64: EXACT, torch.bfloat16: {"rtol": 2e-2, "atol": 0.3}}
FP32_MASTERS = {"rtol": 1e-4, "atol": 1e-5}
"""Adapters over a prepacked base, which is bf16, have fp32 masters even where x is fp64."""


@pytest.fixture(autouse=True)
def prepackable_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepacked layers without oneDNN's bf16 support: the layout is the plain one, everything else is as elsewhere."""
    monkeypatch.setattr(prepacked, "_prepack", lambda weight: weight.clone())
    monkeypatch.setattr(plain, "can_prepack", lambda linear: not linear.weight.requires_grad)


def make(kind: str, dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    """A layer whose weight is frozen and whose bias is trained, set before prepacking as a method does it."""
    torch.manual_seed(0)
    linear = nn.Linear(IN, OUT, dtype=torch.bfloat16 if kind == "prepacked" else dtype)
    if kind in ("nf4", "int4"):
        layer: nn.Module = (NF4Linear if kind == "nf4" else Int4Linear).from_weight(linear.weight, linear.bias)
    elif kind == "offloaded":
        layer = OffloadedLinear(copy.deepcopy(linear), torch.device("cpu"))
    else:
        layer = linear
    layer.requires_grad_(False)
    layer.bias.requires_grad_(True)
    if kind == "prepacked":
        found = as_linear_layer(layer).prepack(backward=True)
        assert isinstance(found, PrepackedLinear)
        assert found.bias is layer.bias
        layer = found
    return layer


def check(layer: nn.Module, weight: Tensor, dtype: torch.dtype) -> None:
    """Output and the gradients of x and bias are those of an nn.Linear with `weight`. Raises AssertionError."""
    bias = as_linear_layer(layer.base if isinstance(layer, LowRankLinear) else layer).bias
    assert isinstance(bias, nn.Parameter) and bias.requires_grad
    bias.grad = None
    ours = torch.linspace(-1, 1, 5 * IN).view(5, IN).to(dtype).requires_grad_()
    theirs, reference = ours.detach().clone().requires_grad_(), bias.detach().clone().requires_grad_()
    upstream = torch.linspace(-2, 3, 5 * OUT).view(5, OUT).to(dtype)
    layer(ours).backward(upstream)
    F.linear(theirs, weight.detach().to(dtype), reference.to(dtype)).backward(upstream)
    assert bias.grad is not None and ours.grad is not None
    torch.testing.assert_close(bias.grad, reference.grad, rtol=1e-2 if dtype == torch.bfloat16 else 1e-12, atol=1e-12)
    masters = isinstance(layer, LowRankLinear) and layer.lora_A.dtype == torch.float32 and dtype == torch.float64
    torch.testing.assert_close(ours.grad, theirs.grad, **(FP32_MASTERS if masters else TOLERANCE[dtype]))


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_a_plain_layer(kind: str, dtype: torch.dtype) -> None:
    layer = make(kind, dtype)
    check(layer, as_linear_layer(layer).dequantize(dtype), dtype)
    assert set(layer.state_dict()) >= {"bias"}


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("magnitudes", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_under_an_adapter(kind: str, magnitudes: bool, dtype: torch.dtype) -> None:
    layer = LowRankLinear(make(kind, dtype), 3, 6.0, magnitudes=magnitudes)
    nn.init.normal_(layer.lora_B, std=0.2)
    as_linear_layer(layer.base).bias.requires_grad_(True)  # wrapping froze it
    check(layer, layer.merged_weight(), dtype)
    assert layer.lora_A.grad is not None and layer.lora_B.grad is not None


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_gradient_for_x(kind: str) -> None:
    """The lowest layer of a model whose biases alone are trained."""
    layer = make(kind)
    layer(torch.ones(2, 3, IN, dtype=torch.bfloat16)).sum().backward()
    assert torch.equal(layer.bias.grad, torch.full((OUT,), 6.0, dtype=torch.bfloat16))


def test_gradcheck() -> None:
    layer = NF4Linear.from_weight(torch.randn(6, 64, dtype=torch.float64), torch.randn(6))
    layer.bias.requires_grad_(True)

    def call(x: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"bias": bias}, (x,))

    x = torch.randn(3, 64, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(call, (x, layer.bias.detach().clone().requires_grad_()))


def test_merging_and_prepacking_keep_the_bias_object() -> None:
    layer = make("prepacked")
    bias = layer.bias
    assert as_linear_layer(layer).merged(lambda weight: 2 * weight).bias is bias
    linear = make("plain")
    bias = linear.bias
    assert as_linear_layer(linear).merged(lambda weight: 2 * weight).bias is bias
    frozen_bias = nn.Linear(IN, OUT, dtype=torch.bfloat16).requires_grad_(False)
    packed = as_linear_layer(frozen_bias).prepack(backward=False)
    assert packed is not None and not any(p.requires_grad for p in packed.parameters())
    assert set(packed.state_dict()) == {"bias"}


@pytest.mark.parametrize("fault", ["no gradient", "half of it", "a buffer", "a copy"])
def test_a_planted_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make("prepacked")
    if fault == "no gradient":
        monkeypatch.setattr(frozen, "bias_gradient", lambda rows, needed: None)
    elif fault == "half of it":
        monkeypatch.setattr(frozen, "bias_gradient", lambda rows, needed: rows[: len(rows) // 2].sum(dim=0))
    else:
        values = layer.bias.detach().clone()
        layer.bias = None
        if fault == "a buffer":
            del layer._parameters["bias"]
            layer.register_buffer("bias", values)
        else:
            layer.bias = nn.Parameter(values, requires_grad=False)
    with pytest.raises(AssertionError):
        check(layer, layer.dequantize(torch.float64), torch.float64)
