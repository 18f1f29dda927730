"""QA-LoRA's adapter: gradients by finite differences, the paper's equation, an exact merge, what is saved."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from semtune.nn.group_pooled import GroupPooledLinear
from semtune.nn.linear import Int4Linear
from semtune.nn.low_rank import LowRankLinear

OUT, RANK, ALPHA = 24, 3, 6.0
WIDTHS = [64, 80]
"""Two whole groups of 32; two and a half."""


def make(
    columns: int = 64, *, bias: bool = False, dropout: float = 0.0, dtype: torch.dtype = torch.float64
) -> GroupPooledLinear:
    """An adapter away from its start."""
    torch.manual_seed(0)
    linear = nn.Linear(columns, OUT, bias=bias, dtype=dtype)
    base = Int4Linear.from_weight(linear.weight, linear.bias)
    layer = GroupPooledLinear(base, RANK, ALPHA, dropout)
    nn.init.normal_(layer.lora_B, std=0.3)
    return layer


def pooled(x: Tensor) -> Tensor:
    """The sums of the groups, one by one."""
    return torch.stack([x[..., start : start + 32].sum(-1) for start in range(0, x.shape[-1], 32)], dim=-1)


def function_of(layer: GroupPooledLinear) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The layer as a function of (x, A, B), with the same dropout mask at every call."""

    def call(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        torch.manual_seed(1)
        return torch.func.functional_call(layer, {"lora_A": a, "lora_B": b}, (x,))

    return call, [p.detach().clone().requires_grad_() for p in (layer.lora_A, layer.lora_B)]


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("columns", WIDTHS)
def test_gradcheck(columns: int, bias: bool, dropout: float) -> None:
    layer = make(columns, bias=bias, dropout=dropout)
    call, parameters = function_of(layer)
    x = torch.randn(2, 3, columns, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(call, (x, *parameters), fast_mode=True)


@pytest.mark.parametrize("columns", WIDTHS)
def test_output_is_the_papers_equation(columns: int) -> None:
    layer = make(columns, bias=True)
    x = torch.randn(2, 5, columns, dtype=torch.float64)
    base = x @ layer.base.dequantize(torch.float64).t() + layer.base.bias
    expected = base + ALPHA / RANK * (pooled(x) @ layer.lora_A.t() @ layer.lora_B.t())
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    nn.init.zeros_(layer.lora_B)
    assert torch.equal(layer(x), layer.base(x))


@pytest.mark.parametrize("columns", WIDTHS)
def test_it_is_lora_whose_a_has_equal_columns_within_a_group(columns: int) -> None:
    ours = make(columns)
    plain = nn.Linear(columns, OUT, bias=False, dtype=torch.float64)
    plain.weight.data = ours.base.dequantize(torch.float64).clone()
    lora = LowRankLinear(plain, RANK, ALPHA)
    with torch.no_grad():
        lora.lora_A.copy_(ours.lora_A.repeat_interleave(32, dim=1)[:, :columns])
        lora.lora_B.copy_(ours.lora_B)
    x, twin = (torch.linspace(-1, 2, 7 * columns).double().view(7, columns).requires_grad_() for _ in range(2))
    upstream = torch.linspace(-2, 1, 7 * OUT).double().view(7, OUT)
    y, other = ours(x), lora(twin)
    torch.testing.assert_close(y, other, rtol=0, atol=1e-11)
    y.backward(upstream)
    other.backward(upstream)
    torch.testing.assert_close(x.grad, twin.grad, rtol=0, atol=1e-11)
    torch.testing.assert_close(ours.lora_B.grad, lora.lora_B.grad, rtol=0, atol=1e-10)
    torch.testing.assert_close(ours.lora_A.grad, pooled(lora.lora_A.grad), rtol=0, atol=1e-10)


@pytest.mark.parametrize("columns", WIDTHS)
def test_merging_is_exact_and_stays_in_4_bits(columns: int) -> None:
    layer = make(columns, bias=True)
    x = torch.randn(5, columns, dtype=torch.float64)
    expected, stored, codes = layer(x), layer.base.weight_bytes, layer.base.codes.clone()
    merged = layer.merged()
    assert isinstance(merged, Int4Linear) and merged.weight_bytes == stored and torch.equal(merged.codes, codes)
    torch.testing.assert_close(merged(x), expected, rtol=0, atol=1e-12)


def test_a_merge_in_fp32_is_exact_to_fp32s_rounding() -> None:
    layer = make(dtype=torch.bfloat16)
    assert layer.lora_A.dtype == torch.float32 and layer.base.zeros.dtype == torch.float32
    before = layer.base.dequantize(torch.float64)
    delta = 2.0 * (layer.lora_B.double() @ layer.lora_A.double()).repeat_interleave(32, dim=1)
    error = (layer.merged().dequantize(torch.float64) - before - delta).abs().max()
    assert error < 1e-6 * (before + delta).abs().max()


def test_the_scalings_of_others_are_those_the_docstring_says() -> None:
    """PEFT's forward of `use_qalora` (the mean times the number of groups), and the authors' average pooling."""
    variants = pytest.importorskip("peft.tuners.lora.variants")
    layer = make(96)
    x = torch.randn(5, 96, dtype=torch.float64)
    base = layer.base(x)
    a, b = nn.Linear(3, RANK, bias=False, dtype=torch.float64), nn.Linear(RANK, OUT, bias=False, dtype=torch.float64)
    a.weight, b.weight = layer.lora_A, layer.lora_B
    module = SimpleNamespace(
        lora_A={"": a}, lora_B={"": b}, lora_dropout={"": nn.Identity()}, qalora_group_size={"": 32},
        scaling={"": layer.scale * 32**2 / 96}, in_features=96, training=False,
    )  # fmt: skip
    theirs = variants.QALoraLinearVariant.forward(module, "", x, base)
    torch.testing.assert_close(layer(x), theirs, rtol=0, atol=1e-11)
    mean = b(a(nn.functional.avg_pool1d(x.unsqueeze(0), 32)[0]))
    torch.testing.assert_close(layer(x), base + 32 * layer.scale * mean, rtol=0, atol=1e-11)


def test_a_begins_with_the_variance_of_loras() -> None:
    torch.manual_seed(0)
    base = Int4Linear.from_weight(torch.randn(8, 4096))
    layer, lora = GroupPooledLinear(base, 64, 8.0), LowRankLinear(nn.Linear(4096, 64), 64, 8.0)
    x = torch.randn(200, 4096)
    ours, theirs = (pooled(x) @ layer.lora_A.t()).std(), (x @ lora.lora_A.t()).std()
    assert abs(ours / theirs - 1) < 0.05
    assert torch.equal(layer.lora_B, torch.zeros(8, 64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("columns", [*WIDTHS, 512])
def test_lower_precisions_are_close_to_fp64(columns: int, dtype: torch.dtype) -> None:
    layer = make(columns, bias=True, dtype=torch.float32)
    x = torch.randn(40, columns, dtype=torch.float64).to(dtype)
    exact = x.double() @ layer.base.dequantize(torch.float64).t() + layer.base.bias.double()
    exact += 2.0 * pooled(x.double()) @ layer.lora_A.double().t() @ layer.lora_B.double().t()
    low = x.clone().requires_grad_()
    y = layer(low)
    assert y.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    assert (y.double() - exact).abs().max() < tolerance * exact.abs().max()
    y.sum().backward()
    moved = layer.base.dequantize(torch.float64) + layer.delta().double().repeat_interleave(32, dim=1)[:, :columns]
    assert low.grad is not None
    assert (low.grad.double() - moved.sum(0)).abs().max() < tolerance * moved.sum(0).abs().max()


def test_the_input_is_not_saved_for_backward() -> None:
    layer = make(512)
    x = torch.randn(10, 512, dtype=torch.float64, requires_grad=True)
    shapes: list[tuple[int, ...]] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (shapes.append(tuple(t.shape)), t)[1], lambda t: t):
        layer(x)
    assert (10, 512) not in shapes and (10, 16) in shapes


def test_dropout_drops_elements_of_the_pooled_input() -> None:
    layer = make(64, dropout=0.5).train()
    nn.init.ones_(layer.lora_A)
    x = torch.ones(400, 64, dtype=torch.float64)
    seen = ((layer(x) - layer.base(x)) / (ALPHA / RANK)) @ torch.linalg.pinv(layer.lora_B.detach().sum(1)[None])
    kept = (seen / 64).round()  # each of two groups sums to 32, doubled where it is kept
    assert {0.0, 1.0, 2.0} == set(kept.flatten().tolist())
    assert torch.equal(layer.eval()(x), layer(x))


def test_fake_tensors() -> None:
    with FakeTensorMode():
        base = Int4Linear.from_weight(torch.empty(OUT, 70, dtype=torch.bfloat16))
        layer = GroupPooledLinear(base, RANK, ALPHA, 0.1)
        x = torch.empty(2, 5, 70, dtype=torch.bfloat16, requires_grad=True)
        y = layer(x)
        y.sum().backward()
        assert y.shape == (2, 5, OUT) and y.dtype == torch.bfloat16
        assert layer.lora_A.grad is not None and layer.lora_A.grad.shape == (RANK, 3)
        assert layer.lora_A.grad.dtype == torch.float32 and x.grad is not None and x.grad.dtype == torch.bfloat16
