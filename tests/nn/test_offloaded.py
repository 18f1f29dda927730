"""Offloaded weights against plain ones; where only a CPU is, it is the device too."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from semtune.nn.low_rank import LowRankLinear
from semtune.nn.offloaded import OffloadedLinear


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("magnitudes", [False, True])
def test_the_same_outputs_and_gradients_to_the_bit(bias: bool, magnitudes: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(12, 7, bias=bias, dtype=torch.float64).requires_grad_(False)
    offloaded = OffloadedLinear(copy.deepcopy(plain), torch.device("cpu"))
    results = []
    for base in (plain, offloaded):
        torch.manual_seed(1)
        layer = LowRankLinear(base, 3, 8.0, 0.0, magnitudes)
        nn.init.normal_(layer.lora_B)
        x = torch.linspace(-1, 1, 60, dtype=torch.float64).view(5, 12).requires_grad_()
        y = layer(x)
        y.square().sum().backward()
        results.append([y, x.grad, layer.lora_A.grad, layer.lora_B.grad, layer.merged_weight()])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_its_weight_is_never_trained() -> None:
    layer = OffloadedLinear(nn.Linear(4, 4), torch.device("cpu"))
    assert not any(p.requires_grad for p in layer.parameters())
    x = torch.ones(2, 4, requires_grad=True)
    layer(x).sum().backward()
    assert torch.allclose(x.grad, layer.weight.sum(dim=0).expand(2, 4))


@pytest.mark.gpu
def test_on_a_gpu_the_weight_is_in_pinned_memory() -> None:
    device = torch.device("cuda")
    plain = nn.Linear(64, 32, dtype=torch.bfloat16)
    offloaded = OffloadedLinear(plain, device)
    assert offloaded.weight.is_pinned()
    x = torch.randn(5, 64, dtype=torch.bfloat16, device=device, requires_grad=True)
    y = offloaded(x)
    y.sum().backward()
    assert torch.allclose(y, nn.functional.linear(x, plain.weight.to(device), plain.bias.to(device)), atol=1e-2)
    assert x.grad is not None
