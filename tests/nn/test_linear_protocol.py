"""What every kind of linear layer offers (`contracts.LinearLayer`), whichever it is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from semtune.errors import MergeRefusedError
from semtune.nn.linear import (
    FrozenLinear,
    Int4Linear,
    NF4Linear,
    PanelLinear,
    PrepackedLinear,
    UpcastLinear,
    as_linear_layer,
    is_linear_layer,
    prepacked,
    stored_numel,
)
from semtune.nn.low_rank import LowRankLinear
from semtune.nn.offloaded import OffloadedLinear

IN, OUT = 64, 24
KINDS = ["plain", "panel", "prepacked", "nf4", "int4", "offloaded", "upcast"]
BYTES = {"nf4": IN * OUT // 2 + 24 + 4 + 4, "int4": IN * OUT // 2 + (2 + 4) * (IN * OUT // 32)}
"""Of kinds that store a weight in another number of bytes than two."""
PLAIN = {"plain", "panel"}


@pytest.fixture(params=KINDS)
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A frozen bf16 layer with a bias. A prepacked one is laid out plainly, as oneDNN may lack bf16 here."""
    monkeypatch.setattr(prepacked, "_prepack", lambda weight: weight.clone())
    torch.manual_seed(0)
    linear = nn.Linear(IN, OUT, dtype=torch.bfloat16).requires_grad_(False)
    if request.param == "plain":
        return linear
    if request.param == "panel":
        linear.__class__ = PanelLinear
        return linear
    if request.param == "upcast":
        return UpcastLinear(linear.weight, linear.bias, torch.bfloat16)
    if request.param == "prepacked":
        return PrepackedLinear(linear)
    if request.param == "offloaded":
        return OffloadedLinear(linear, torch.device("cpu"))
    kind = Int4Linear if request.param == "int4" else NF4Linear
    return kind.from_weight(linear.weight, linear.bias)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_products_are_those_of_the_dequantised_weight(module: nn.Module, dtype: torch.dtype) -> None:
    layer = as_linear_layer(module)
    assert layer.bias is not None
    weight = layer.dequantize(dtype)
    assert weight.shape == (OUT, IN) and weight.dtype == dtype
    x, grad, bias = torch.randn(2, 5, IN).to(dtype), torch.randn(5, OUT).to(dtype), layer.bias.to(dtype)
    torch.testing.assert_close(layer.matmul(x), F.linear(x, weight))
    torch.testing.assert_close(layer.matmul(x, bias), F.linear(x, weight, bias))
    torch.testing.assert_close(layer.grad_input(grad), grad @ weight)
    if dtype == torch.bfloat16:
        torch.testing.assert_close(module(x), F.linear(x, weight, bias))
    exact = layer.dequantize(layer.weight_dtype)
    assert torch.equal(exact.double(), layer.dequantize(torch.float64))


def test_its_properties(module: nn.Module, request: pytest.FixtureRequest) -> None:
    layer = as_linear_layer(module)
    kind = request.node.callspec.params["module"]
    assert is_linear_layer(module)
    assert (layer.in_features, layer.out_features, layer.weight_numel) == (IN, OUT, IN * OUT)
    assert (layer.compute_dtype, layer.device) == (torch.bfloat16, torch.device("cpu"))
    assert layer.weight_bytes == BYTES.get(kind, 2 * IN * OUT)
    assert layer.weight_frozen
    assert (layer.train_refusal is None) == (kind in PLAIN)
    assert (layer.merge_refusal is None) == (kind not in BYTES)
    assert (layer.prepack(backward=True) is None) == (not layer.can_prepack)
    assert stored_numel(module) == (0 if kind in PLAIN else IN * OUT)
    assert [name for name, _ in module.named_parameters() if name != "weight"] == ["bias"]


def test_merging_updates_the_weight_or_is_refused(module: nn.Module) -> None:
    layer = as_linear_layer(module)
    x = torch.randn(3, IN).bfloat16()
    before, y = layer.dequantize(torch.bfloat16).clone(), module(x)
    if layer.merge_refusal is not None:
        with pytest.raises(MergeRefusedError, match="4-bit"):
            layer.merged(lambda weight: 2 * weight)
        assert torch.equal(module(x), y)
        return
    merged = layer.merged(lambda weight: weight.float() * 1.5 + 1)
    after = as_linear_layer(merged)
    assert torch.equal(after.dequantize(torch.bfloat16), (before.float() * 1.5 + 1).bfloat16())
    assert after.bias is layer.bias
    torch.testing.assert_close(merged(x), F.linear(x, after.dequantize(torch.bfloat16), layer.bias))
    assert isinstance(merged, OffloadedLinear) == isinstance(module, OffloadedLinear)


@pytest.mark.parametrize("magnitudes", [False, True])
def test_an_adapter_merges_into_every_kind_that_allows_it(module: nn.Module, magnitudes: bool) -> None:
    layer = LowRankLinear(module, 3, 6.0, magnitudes=magnitudes)
    nn.init.normal_(layer.lora_B, std=0.2)
    if as_linear_layer(module).merge_refusal is not None:
        with pytest.raises(MergeRefusedError, match="4-bit"):
            layer.merged()
        return
    expected = layer.merged_weight().bfloat16()
    assert torch.equal(as_linear_layer(copy.deepcopy(layer).merged()).dequantize(torch.bfloat16), expected)


def test_other_modules_are_no_linear_layers() -> None:
    for other in (nn.Embedding(4, 4), nn.LayerNorm(4), LowRankLinear(nn.Linear(4, 4), 2, 2.0)):
        assert not is_linear_layer(other)
        with pytest.raises(TypeError, match=type(other).__name__):
            as_linear_layer(other)


def test_a_class_of_ones_own_follows_the_protocol() -> None:
    """All that a subclass has to say is how W is stored."""

    class Signs(FrozenLinear):
        weight_dtype = torch.float32

        def __init__(self, weight: torch.Tensor) -> None:
            super().__init__(weight.shape[1], weight.shape[0], None)
            self.register_buffer("signs", weight.sign().to(torch.int8))

        def dequantize(self, dtype: torch.dtype) -> torch.Tensor:
            return self.signs.to(dtype)

    module = Signs(torch.randn(OUT, IN))
    layer = as_linear_layer(module)
    assert is_linear_layer(module) and layer is module
    assert layer.weight_bytes == IN * OUT
    x = torch.randn(3, IN, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(LowRankLinear(module, 2, 4.0, magnitudes=True).double(), x)
