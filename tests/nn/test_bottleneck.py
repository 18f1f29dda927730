"""Bottleneck adapters: the function, and the hook that adds it to any module's output."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtune.nn.block_output import BlockOutput
from semtune.nn.bottleneck import CHILD, Bottleneck, append_bottleneck, bottlenecks

WIDTH, SIZE = 12, 5
EXACT = {"rtol": 0.0, "atol": 1e-12}


def adapter(activation: Any = "swish", scale: float = 1.0) -> Bottleneck:
    """One away from its start, in fp64."""
    torch.manual_seed(0)
    made = Bottleneck(WIDTH, SIZE, activation=activation, scale=scale, dtype=torch.float64)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.4)
    return made


def formula(a: Bottleneck, h: Tensor) -> Tensor:
    """s (W_up f(W_down h + b_down) + b_up), with f written out."""
    inner = h @ a.down_weight.T + a.down_bias
    active = inner.clamp(min=0) if a.activation == "relu" else inner / (1 + torch.exp(-inner))
    return a.scale * (active @ a.up_weight.T + a.up_bias)


def rows(count: int = 7, seed: int = 1) -> Tensor:
    return torch.randn(count, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("activation", ["relu", "swish"])
def test_the_function_and_its_gradients(activation: str, scale: float) -> None:
    mine, twin = adapter(activation, scale), adapter(activation, scale)
    h, again = rows().requires_grad_(), rows().requires_grad_()
    found, expected = mine(h), formula(twin, again)
    torch.testing.assert_close(found, expected, **EXACT)
    upstream = rows(seed=2)
    found.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(h.grad, again.grad, **EXACT)
    for a, b in zip(mine.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, **EXACT)


def test_the_start_adds_nothing_and_then_moves() -> None:
    made = Bottleneck(WIDTH, SIZE)
    assert torch.equal(made(torch.randn(3, WIDTH)), torch.zeros(3, WIDTH))
    made(torch.randn(3, WIDTH)).sum().backward()
    assert made.up_weight.grad.abs().max() > 0 and made.down_weight.abs().max() > 0
    assert {p.dtype for p in made.parameters()} == {torch.float32}


def test_bf16_activations_over_fp32_parameters() -> None:
    made = Bottleneck(WIDTH, SIZE, dtype=torch.bfloat16)
    nn.init.normal_(made.up_weight)
    y = made(torch.randn(3, WIDTH).bfloat16())
    y.sum().backward()
    assert y.dtype == torch.bfloat16
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in made.parameters())


class Kinds(nn.Module):
    """A module whose output has one of the forms that decoders use."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.inner = form, nn.Linear(WIDTH, WIDTH, dtype=torch.float64)

    def forward(self, hidden_states: Tensor, packed: Any = None) -> Any:
        if packed is not None:
            hidden_states = hidden_states[packed.query_rows]
        y = self.inner(hidden_states)
        return {"tensor": y, "tuple": (y, None), "block": BlockOutput(y, hidden_states)}[self.form]


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("form", ["tensor", "tuple", "block"])
def test_sequential_adds_to_every_form_of_output(form: str, by_name: bool) -> None:
    module, added = Kinds(form), adapter()
    before = dict(module.named_parameters())
    append_bottleneck(module, added)
    assert bottlenecks(module) == {CHILD: added}
    assert all(dict(module.named_parameters())[name] is p for name, p in before.items())
    x = rows()
    y = module.inner(x)
    out = module(hidden_states=x) if by_name else module(x)
    if form == "block":
        assert isinstance(out, BlockOutput)
        torch.testing.assert_close(sum(out), x + y + formula(added, x + y), **EXACT)
    else:
        found = out if form == "tensor" else out[0]
        assert form == "tensor" or (type(out) is tuple and out[1] is None)
        torch.testing.assert_close(found, y + formula(added, y), **EXACT)


@pytest.mark.parametrize("by_name", [False, True])
def test_parallel_reads_the_modules_input(by_name: bool) -> None:
    module, added = Kinds("tuple"), adapter("relu", 4.0)
    append_bottleneck(module, added, parallel=True)
    x = rows()
    out = module(hidden_states=x) if by_name else module(x)
    torch.testing.assert_close(out[0], module.inner(x) + formula(added, x), **EXACT)


def test_parallel_where_only_some_rows_are_computed() -> None:
    module, added = Kinds("tensor"), adapter()
    append_bottleneck(module, added, parallel=True)
    x, chosen = rows(), torch.tensor([4, 0, 6])
    out = module(x, packed=SimpleNamespace(query_rows=chosen))
    torch.testing.assert_close(
        out, F.linear(x[chosen], module.inner.weight, module.inner.bias) + formula(added, x)[chosen]
    )
