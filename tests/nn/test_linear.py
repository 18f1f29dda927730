"""Frozen layers: prepacked ones equal plain ones to the bit, 4-bit ones share one buffer without mixing up."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from semtune.nn.linear import NF4Linear, PrepackedLinear, as_linear_layer
from semtune.nn.low_rank import LowRankLinear
from semtune.runtime.processor import native_bf16

packs = pytest.mark.skipif(
    not (native_bf16("cpu") and torch.backends.mkldnn.is_available()), reason="bf16 products are emulated here"
)


def frozen(rows: int, columns: int, bias: bool = False, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(columns, rows, bias=bias, dtype=torch.bfloat16).requires_grad_(False)


@packs
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 20, 96, 384])
@pytest.mark.parametrize("shape", [(192, 576), (576, 192), (70, 33)])
def test_packed_products_are_the_plain_ones_to_the_bit(shape: tuple[int, int], rows: int, bias: bool) -> None:
    plain = frozen(*shape, bias=bias)
    assert as_linear_layer(plain).can_prepack
    packed = PrepackedLinear(plain)
    x, grad = torch.randn(rows, shape[1]).bfloat16(), torch.randn(rows, shape[0]).bfloat16()
    ours, theirs = (x.clone().requires_grad_(True) for _ in range(2))
    y, expected = packed(ours), plain(theirs)
    if torch.cpu._is_amx_tile_supported():
        # One of these products had other bits on a Xeon with AMX (torch 2.11), whose tiles add in another order.
        torch.testing.assert_close(y, expected, rtol=2**-7, atol=1e-2)
    else:
        assert torch.equal(y, expected)
    y.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=2**-7, atol=1e-2)  # sums in another order
    assert torch.equal(packed.dequantize(torch.bfloat16), plain.weight)
    again = packed.merged(lambda weight: weight)
    assert torch.equal(again.weight, plain.weight)
    assert (again.bias is None) == (plain.bias is None)


@packs
def test_packed_without_a_backward_layout_still_has_gradients() -> None:
    plain = frozen(24, 40)
    packed = PrepackedLinear(plain, backward=False)
    x = torch.randn(5, 40).bfloat16().requires_grad_(True)
    packed(x).sum().backward()
    expected = torch.ones(5, 24).bfloat16() @ plain.weight
    torch.testing.assert_close(x.grad, expected)


@packs
@pytest.mark.parametrize("dora", [False, True])
def test_adapters_do_not_see_whether_the_base_is_packed(dora: bool) -> None:
    plain = frozen(64, 96, bias=True)
    layers = []
    for base in (plain, PrepackedLinear(plain)):
        torch.manual_seed(1)
        layer = LowRankLinear(plain, 4, 8.0, magnitudes=dora)
        nn.init.normal_(layer.lora_B, std=0.2)
        layer.base = base
        layers.append(layer)
    x = torch.randn(7, 96).bfloat16()
    outs = [layer(x) for layer in layers]
    torch.testing.assert_close(outs[0], outs[1], rtol=2**-7, atol=1e-2)
    for out in outs:
        out.sum().backward()
    torch.testing.assert_close(layers[0].lora_A.grad, layers[1].lora_A.grad, rtol=2e-2, atol=1e-2)
    torch.testing.assert_close(layers[0].merged_weight(), layers[1].merged_weight())


@pytest.mark.parametrize("case", ["trained", "fp32", "4-bit"])
def test_what_cannot_be_packed(case: str) -> None:
    linear: nn.Module = frozen(8, 64)
    if case == "trained":
        linear.requires_grad_(True)
    elif case == "fp32":
        linear.float()
    else:
        linear = NF4Linear.from_weight(linear.weight)
    layer = as_linear_layer(linear)
    assert not layer.can_prepack
    assert layer.prepack(backward=True) is None


def test_the_shared_buffer_never_gives_another_layers_weight() -> None:
    """Layers in turns, of different sizes; the same layer twice; codes that were replaced or written over."""
    layers = [NF4Linear.from_weight(frozen(out, 64, seed=i).weight) for i, out in enumerate((8, 4, 8))]
    x = torch.randn(3, 64).bfloat16()

    def check(layer: NF4Linear) -> None:
        assert torch.equal(layer(x), F.linear(x, layer.dequantize(torch.bfloat16)))

    for index in (0, 1, 2, 2, 0, 1, 1):
        check(layers[index])
    check(layers[0])
    before = layers[0](x)
    layers[0].codes.copy_(layers[2].codes)
    check(layers[0])
    assert not torch.equal(before, layers[0](x))
    layers[0].codes = layers[0].codes.flip(0)
    check(layers[0])
