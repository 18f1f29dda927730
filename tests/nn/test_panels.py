"""Products of half-precision weights in fp32 panels, whatever this machine's processor multiplies."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtune.nn import low_rank_products, panels, products
from semtune.nn.dropout import draw_mask
from semtune.nn.linear import PanelLinear, UpcastLinear, use_panels
from semtune.nn.linear_cross_entropy import fused_linear_cross_entropy
from semtune.nn.low_rank import LowRankLinear

BF16, FP32 = torch.bfloat16, torch.float32
ROUNDED_ONCE = 2**-8
"""Half the distance of neighbouring bf16 numbers, relative to the smaller one."""


@pytest.fixture(autouse=True)
def without_bf16_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor that does not multiply bf16, with panels of 5 rows."""
    monkeypatch.setattr(panels, "native_bf16", lambda device_type="cpu": False)
    monkeypatch.setattr(panels, "PANEL_BYTES", 1)
    monkeypatch.setattr(panels, "MIN_PANEL_ROWS", 5)


def numbers(*shape: int, dtype: torch.dtype = BF16, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def close(actual: Tensor, exact: Tensor) -> None:
    """In bf16: rounded once from an fp32 sum. In fp32: the sum."""
    rtol = ROUNDED_ONCE if actual.dtype == BF16 else 1e-5
    torch.testing.assert_close(actual.double(), exact, rtol=rtol, atol=2e-5)


@pytest.mark.parametrize("rows", [1, 7, 64])
@pytest.mark.parametrize("size", [(3, 8), (5, 16), (23, 17)])
@pytest.mark.parametrize(("x_dtype", "w_dtype"), [(BF16, BF16), (FP32, BF16), (FP32, torch.float16)])
def test_products_equal_those_in_fp64(
    rows: int, size: tuple[int, int], x_dtype: torch.dtype, w_dtype: torch.dtype
) -> None:
    out, inner = size
    x, grad = numbers(rows, inner, dtype=x_dtype), numbers(rows, out, dtype=x_dtype, seed=1)
    weight, bias = numbers(out, inner, dtype=w_dtype, seed=2), numbers(out, dtype=x_dtype, seed=3)
    assert panels.converts(weight, x)
    exact = x.double() @ weight.double().t()
    close(panels.linear(x, weight), exact)
    close(panels.linear(x, weight, bias), exact + bias.double())
    close(panels.linear(x.view(rows, 1, inner), weight).view(rows, out), exact)
    close(panels.grad_input(grad, weight), grad.double() @ weight.double())
    close(panels.grad_weight(grad, x), grad.double().t() @ x.double())


def test_products_of_blocks_equal_those_in_fp64() -> None:
    a, b = numbers(3, 4, 6), numbers(3, 6, 5, seed=1)
    close(panels.bmm(a, b), a.double() @ b.double())


@pytest.mark.parametrize(
    ("weight", "x"), [(FP32, FP32), (torch.float64, torch.float64), (BF16, torch.float64), (FP32, BF16)]
)
def test_other_dtypes_are_left_to_torch(weight: torch.dtype, x: torch.dtype) -> None:
    assert not panels.converts(torch.ones(2, 2, dtype=weight), torch.ones(2, 2, dtype=x))


def test_bf16_hardware_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "native_bf16", lambda device_type="cpu": True)
    one = torch.ones(2, 2, dtype=BF16)
    assert not panels.converts(one, one)
    assert panels.converts(one, one.float())  # a half-precision weight under fp32 activations: no hardware for that


def test_a_result_is_no_view() -> None:
    assert not panels.linear(numbers(2, 3, 8), numbers(5, 8))._is_view()


def test_a_product_does_not_change_an_earlier_one() -> None:
    """The panel's memory is shared, the results' is not."""
    x, first, second = numbers(4, 8), numbers(9, 8, seed=1), numbers(9, 8, seed=2)
    y = panels.linear(x, first)
    before = y.clone()
    panels.linear(x, second)
    assert torch.equal(y, before)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_panel_linear_has_the_gradients_of_fp64(trained: bool, bias: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 7, bias=bias, dtype=BF16)).requires_grad_(trained)
    exact = copy.deepcopy(model).double()
    parameters = list(model.parameters())
    use_panels(model)
    assert type(model[0]) is PanelLinear and all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    x = numbers(2, 5, 12).requires_grad_(True)
    x64 = x.detach().double().requires_grad_(True)
    y, y64 = model(x), exact(x64)
    close(y.detach(), y64.detach())
    grad = numbers(2, 5, 7, seed=4)
    y.backward(grad)
    y64.backward(grad.double())
    assert x.grad is not None and x64.grad is not None
    close(x.grad, x64.grad)
    for ours, theirs in zip(model.parameters(), exact.parameters(), strict=True):
        assert (ours.grad is None) == (not trained)
        if trained:
            assert ours.grad is not None and theirs.grad is not None and ours.grad.dtype == BF16
            close(ours.grad, theirs.grad)


@pytest.mark.parametrize("ours_are_faster", [False, True])
def test_which_layers_become_panel_linears(ours_are_faster: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_enabled", lambda: ours_are_faster)
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, dtype=BF16), nn.Linear(2, 2, dtype=torch.float64))
    use_panels(model)
    assert [type(layer) for layer in model] == [PanelLinear if ours_are_faster else nn.Linear, PanelLinear, nn.Linear]


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("base", ["bf16", "upcast"])
def test_adapters_over_such_a_weight_have_the_gradients_of_fp64(
    base: str, dora: bool, dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a rank that the compiled operator leaves to the library."""
    monkeypatch.setattr(low_rank_products, "_MAX_COMPILED_RANK", 0)
    weight = numbers(16, 32)
    dtype = FP32 if base == "upcast" else BF16
    torch.manual_seed(1)
    layers = []
    for kind in (dtype, torch.float64):
        plain = nn.Linear(32, 16, bias=False, dtype=kind)
        plain.weight = nn.Parameter(weight.to(kind))
        if base == "upcast" and kind != torch.float64:
            plain = UpcastLinear(weight, None, FP32)
        layers.append(LowRankLinear(plain, 4, 8.0, dropout, magnitudes=dora))
    ours, exact = layers
    with torch.no_grad():
        trained = dict(exact.named_parameters(recurse=False))
        for name, p in ours.named_parameters(recurse=False):
            p.add_(0.1 * torch.randn(p.shape))
            trained[name].copy_(p)
    x = numbers(6, 32, dtype=dtype, seed=5).requires_grad_(True)
    x64 = x.detach().double().requires_grad_(True)
    grad = numbers(6, 16, dtype=dtype, seed=6)
    results = []
    for layer, given in ((ours, x), (exact, x64)):
        torch.manual_seed(7)  # the same dropout mask
        y = layer(given)
        y.backward(grad.to(y.dtype))
        results.append([y.detach(), given.grad, layer.lora_A.grad, layer.lora_B.grad])
    for a, b in zip(*results, strict=True):
        assert a is not None and b is not None
        error = (a.double() - b).norm() / b.norm()
        assert error < (1e-5 if dtype == FP32 else 1e-2)


def test_the_loss_of_a_bf16_embedding() -> None:
    hidden, weight = numbers(11, 16), numbers(29, 16, seed=1)
    targets = torch.arange(11) % 29
    ours = [hidden.clone().requires_grad_(True), weight.clone().requires_grad_(True)]
    exact = [t.detach().double().requires_grad_(True) for t in ours]
    loss = fused_linear_cross_entropy(*ours, None, targets)
    expected = F.cross_entropy(F.linear(*exact), targets, reduction="sum")
    torch.testing.assert_close(loss.double(), expected, rtol=5e-3, atol=0)
    loss.backward()
    expected.backward()
    for a, b in zip(ours, exact, strict=True):
        assert a.grad is not None and b.grad is not None
        assert (a.grad.double() - b.grad).norm() < 0.01 * b.grad.norm()


def test_an_upcast_linear_keeps_its_storage() -> None:
    layer = UpcastLinear(numbers(8, 16), numbers(8), FP32)
    assert layer.to(FP32).stored.dtype == layer.double().stored.dtype == BF16
    assert layer.weight_bytes == 2 * 8 * 16
    merged = UpcastLinear(numbers(8, 16), None, FP32).merged(lambda weight: weight.double() + 1e-4)
    assert merged.weight.dtype == FP32  # type: ignore[union-attr]
    torch.testing.assert_close(merged.weight.double(), numbers(8, 16).double() + 1e-4, rtol=1e-7, atol=1e-8)  # type: ignore[operator, union-attr]


def test_masks_need_no_seed_beyond_torch() -> None:
    torch.manual_seed(7)
    first = draw_mask(0.5)
    torch.manual_seed(7)
    assert draw_mask(0.5) == first  # what the adapters' test above relies on
