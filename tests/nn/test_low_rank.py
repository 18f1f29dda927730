"""The low-rank autograd by itself: gradients by finite differences, dropout, what is kept, the exact start."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from semtune.nn.linear import NF4Linear
from semtune.nn.low_rank import LowRankLinear

IN, OUT, RANK = 64, 24, 3


def make(
    *,
    nf4: bool = False,
    bias: bool = False,
    dropout: float = 0.0,
    dora: bool = False,
    dtype: torch.dtype = torch.float64,
) -> LowRankLinear:
    """An adapter away from its start: B and the magnitudes are not what they begin with."""
    torch.manual_seed(0)
    base: nn.Linear | NF4Linear = nn.Linear(IN, OUT, bias=bias, dtype=dtype)
    if nf4:
        base = NF4Linear.from_weight(base.weight, base.bias, dtype)
    layer = LowRankLinear(base, RANK, alpha=6.0, dropout=dropout, magnitudes=dora)
    with torch.no_grad():
        layer.lora_B.normal_(std=0.3)
        if layer.magnitude is not None:
            layer.magnitude.mul_(torch.empty_like(layer.magnitude).uniform_(0.5, 1.5))
    return layer


def function_of(layer: LowRankLinear) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The layer as a function of (x, its parameters), with the same dropout mask at every call."""
    names = [name for name, _ in layer.named_parameters(recurse=False)]
    norms = None if layer.magnitude is None else layer.row_norms(torch.float64)
    if norms is not None:  # a constant for the gradient, hence for the finite differences too
        layer.row_norms = lambda dtype: norms

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        torch.manual_seed(1)
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    return call, [p.detach().clone().requires_grad_() for _, p in layer.named_parameters(recurse=False)]


def base_weight(layer: LowRankLinear) -> Tensor:
    return layer.base.dequantize(torch.float64) if isinstance(layer.base, NF4Linear) else layer.base.weight.detach()


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("nf4", [False, True])
def test_gradcheck(nf4: bool, bias: bool, dropout: float, dora: bool) -> None:
    layer = make(nf4=nf4, bias=bias, dropout=dropout, dora=dora)
    call, parameters = function_of(layer)
    x = torch.randn(2, 3, IN, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(call, (x, *parameters), fast_mode=True)


@pytest.mark.parametrize("nf4", [False, True])
def test_output_is_the_formula(nf4: bool) -> None:
    layer = make(nf4=nf4, bias=True, dora=True)
    assert layer.magnitude is not None and layer.base.bias is not None
    x = torch.randn(5, IN, dtype=torch.float64)
    moved = base_weight(layer) + 2.0 * layer.lora_B @ layer.lora_A  # alpha / rank = 2
    expected = x @ (layer.magnitude[:, None] * moved / moved.norm(dim=1, keepdim=True)).t() + layer.base.bias
    assert torch.allclose(layer(x), expected, atol=1e-12)
    assert torch.allclose(x @ layer.merged_weight().t() + layer.base.bias, expected, atol=1e-12)
    assert torch.allclose(base_weight(layer) + layer.delta(), layer.merged_weight(), atol=1e-12)


def test_norm_has_no_gradient() -> None:
    """DoRA section 4.3: the norm is a constant; with it differentiated, B's gradient would be another."""
    layer = make(dora=True)
    assert layer.magnitude is not None
    x = torch.randn(5, IN, dtype=torch.float64)
    layer(x).square().sum().backward()
    a, b = layer.lora_A.detach(), layer.lora_B.detach().clone().requires_grad_()
    moved = base_weight(layer) + 2.0 * b @ a
    norm = moved.norm(dim=1, keepdim=True)
    detached = (x @ (layer.magnitude.detach()[:, None] * moved / norm.detach()).t()).square().sum()
    attached = (x @ (layer.magnitude.detach()[:, None] * moved / norm).t()).square().sum()
    (expected,) = torch.autograd.grad(detached, b, retain_graph=True)
    (other,) = torch.autograd.grad(attached, b)
    assert torch.allclose(layer.lora_B.grad, expected, atol=1e-10)
    assert not torch.allclose(other, expected, atol=1e-3)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("nf4", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_no_effect_at_the_start(dtype: torch.dtype, nf4: bool, dora: bool) -> None:
    torch.manual_seed(0)
    base: nn.Linear | NF4Linear = nn.Linear(IN, OUT, bias=not dora, dtype=dtype)
    if nf4:
        base = NF4Linear.from_weight(base.weight, base.bias)
    x = torch.randn(2, 7, IN, dtype=dtype)
    before = base(x)
    layer = LowRankLinear(base, RANK, 6.0, dropout=0.5, magnitudes=dora).eval()
    assert torch.equal(layer(x), before)
    masters = torch.float64 if dtype == torch.float64 else torch.float32
    assert {p.dtype for p in layer.parameters() if p.requires_grad} == {masters}


def test_bf16_compute_keeps_fp32_gradients_and_small_magnitude_steps() -> None:
    layer = make(dtype=torch.bfloat16, dora=True)
    x = torch.randn(9, IN, dtype=torch.bfloat16, requires_grad=True)
    y = layer(x)
    y.float().square().sum().backward()
    assert x.grad is not None and x.grad.dtype == torch.bfloat16
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in layer.parameters() if p.requires_grad)
    assert layer.magnitude is not None
    with torch.no_grad():
        layer.magnitude.mul_(1 + 2**-9)  # half a step of bf16: lost, were the factor rounded before it is applied
    assert not torch.equal(layer(x), y)


def test_frozen_input_gets_no_gradient_and_costs_no_product() -> None:
    layer = make(nf4=True)
    asked: list[Tensor] = []
    product = layer.base.grad_input
    layer.base.grad_input = lambda grad: asked.append(grad) or product(grad)
    layer(torch.randn(4, IN, dtype=torch.float64)).sum().backward()
    assert not asked
    assert layer.lora_A.grad is not None and layer.lora_B.grad is not None
    layer(torch.randn(4, IN, dtype=torch.float64, requires_grad=True)).sum().backward()
    assert len(asked) == 1


@pytest.mark.parametrize("dora", [False, True])
def test_only_small_tensors_are_kept(dora: bool) -> None:
    """Kept: x, A x, the parameters, and DoRA's output; never a mask or a 4-bit base's weight."""
    layer = make(nf4=True, dropout=0.5, dora=dora)
    x = torch.randn(5, IN, dtype=torch.float64, requires_grad=True)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(x)
    assert all(t.numel() < OUT * IN for t in kept)
    activations = sum(t.numel() * t.element_size() for t in kept if t.shape[:1] == (5,))
    assert activations == 5 * IN * 8 + 5 * RANK * 8 + (5 * OUT * 8 if dora else 0)


class TestFrozenA:
    """LoRA-FA (Zhang et al. 2023, section 3): the gradient of B needs A x alone, so x is not saved."""

    @pytest.mark.parametrize("dora", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("inputs_need_a_gradient", [False, True])
    def test_gradients_are_those_of_a_trained_a(
        self, dora: bool, dtype: torch.dtype, inputs_need_a_gradient: bool
    ) -> None:
        both = [make(dropout=0.4, dora=dora, dtype=dtype) for _ in range(2)]
        frozen, trained = LowRankLinear(both[0].base, RANK, 6.0, 0.4, dora, freeze_a=True), both[1]
        frozen.load_state_dict(trained.state_dict())
        x = torch.randn(7, IN, dtype=dtype)
        inputs = [x.clone().requires_grad_(inputs_need_a_gradient) for _ in both]
        outputs = []
        for layer, one in zip((frozen, trained), inputs, strict=True):
            torch.manual_seed(3)
            outputs.append(layer(one))
            outputs[-1].float().square().sum().backward()
        assert torch.equal(*outputs)
        assert frozen.lora_A.grad is None
        assert trained.lora_A.grad is not None
        assert torch.equal(frozen.lora_B.grad, trained.lora_B.grad)
        if inputs_need_a_gradient:
            assert torch.equal(inputs[0].grad, inputs[1].grad)

    def test_the_input_is_not_kept(self) -> None:
        kept: list[Tensor] = []
        layer = LowRankLinear(nn.Linear(IN, OUT), RANK, 6.0, freeze_a=True)
        x = torch.randn(5, IN, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            layer(x)
        assert not any(t.shape == x.shape for t in kept)


class TestDropout:
    def test_only_while_training_and_only_on_the_low_rank_path(self) -> None:
        layer = make(dropout=0.5)
        x = torch.randn(4, IN, dtype=torch.float64)
        assert not torch.equal(layer(x), layer(x))
        torch.nn.init.zeros_(layer.lora_B)
        assert torch.equal(layer(x), layer.base(x))
        layer = make(dropout=0.5).eval()
        assert torch.equal(layer(x), layer(x))

    def test_follows_the_global_seed_and_keeps_the_mean(self) -> None:
        layer = make(dropout=0.3)
        x = torch.randn(4, IN, dtype=torch.float64)
        torch.manual_seed(7)
        first = layer(x)
        torch.manual_seed(7)
        assert torch.equal(layer(x), first)
        mean = torch.stack([layer(x) for _ in range(4000)]).mean(dim=0)
        assert torch.allclose(mean, layer.eval()(x), atol=0.15)


def test_row_of_zeros_is_not_a_nan() -> None:
    torch.manual_seed(0)
    base = nn.Linear(IN, OUT, bias=False, dtype=torch.float64)
    base.weight.data[3] = 0
    layer = LowRankLinear(base, RANK, 6.0, magnitudes=True)
    y = layer(torch.randn(4, IN, dtype=torch.float64, requires_grad=True))
    y.sum().backward()
    assert y.isfinite().all() and (y[:, 3] == 0).all()
    assert all(p.grad.isfinite().all() for p in layer.parameters() if p.requires_grad)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("nf4", [False, True])
def test_traces_with_fake_tensors(nf4: bool, dora: bool) -> None:
    with FakeTensorMode():
        base: nn.Linear | NF4Linear = nn.Linear(IN, OUT, dtype=torch.bfloat16)
        if nf4:
            base = NF4Linear.from_weight(base.weight)
        layer = LowRankLinear(base, RANK, 6.0, dropout=0.1, magnitudes=dora)
        layer(torch.empty(4, IN, dtype=torch.bfloat16, requires_grad=True)).sum().backward()
        assert layer.lora_A.grad is not None and layer.lora_A.grad.dtype == torch.float32
