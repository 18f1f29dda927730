"""Compiled fp32 products against torch's in fp64: every shape of the edges, both layouts of each factor."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from semtune.nn import panels, products
from semtune.nn.kernels import library
from semtune.nn.linear import use_panels
from semtune.runtime.processor import cpu_vendor

ROWS = (16, 17, 23, 30, 385, 800)
INNER = (1, 7, 8, 33, 321, 700)
COLUMNS = (16, 48, 80, 144)

pytestmark = pytest.mark.skipif(library() is None, reason="the compiled loops were not built")


@pytest.fixture(autouse=True)
def enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    """On every processor and at every level: where the library is faster the loop must be right all the same."""
    monkeypatch.setattr(products, "_enabled", lambda: True)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def close(found: Tensor, left: Tensor, right: Tensor) -> None:
    """Within fp32's rounding of sums of as many numbers."""
    size = left.double().abs() @ right.double().abs()
    assert ((found.double() - left.double() @ right.double()).abs() <= 2e-6 * size + 1e-30).all()


@pytest.mark.parametrize(("left_transposed", "right_transposed"), list(itertools.product([False, True], repeat=2)))
def test_equals_the_exact_product(left_transposed: bool, right_transposed: bool) -> None:
    for rows, inner, columns in itertools.product(ROWS, INNER, COLUMNS):
        left = draw(inner, rows) if left_transposed else draw(rows, inner)
        right = draw(columns, inner) if right_transposed else draw(inner, columns)
        found = products.product(left, right, left_transposed, right_transposed)
        close(found, left.t() if left_transposed else left, right.t() if right_transposed else right)


def test_slices_that_are_added_to() -> None:
    left, right, out = draw(40, 90), draw(50, 33), draw(40, 100)
    expected = out.clone()
    expected[:, 20:68] += left[:, 30:63] @ right[:48].t()
    assert products.multiply_into_(out[:, 20:68], left[:, 30:63], right[:48], right_transposed=True, add=True)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    weights = torch.empty(63, 48)
    assert products.multiply_into_(weights, draw(40, 63).t(), draw(40, 48))
    close(weights, draw(40, 63).t(), draw(40, 48))


def test_does_not_depend_on_the_number_of_threads() -> None:
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append(products.product(draw(100, 700), draw(176, 700), False, True))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_what_is_no_number_stays_one() -> None:
    left, right = draw(20, 30), draw(16, 30)
    left[3, 4], right[5, 6] = torch.nan, torch.inf
    found = products.product(left, right, False, True)
    assert found[3].isnan().all()
    assert not found[:, 5].isfinite().any()
    assert int((~found.isfinite()).sum()) == 16 + 20 - 1


@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_and_its_gradients(bias: bool) -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(48, 32, bias=bias)
    model = torch.nn.Sequential(torch.nn.Linear(48, 32, bias=bias))
    model[0].load_state_dict(plain.state_dict())
    use_panels(model)
    assert type(model[0]) is not torch.nn.Linear
    results = []
    for layer, dtype in ((model[0], torch.float32), (plain.double(), torch.float64)):
        x = draw(2, 20, 48).to(dtype).requires_grad_()
        y = layer(x)
        y.backward(draw(2, 20, 32).to(dtype))
        results.append([y.detach(), x.grad, *(p.grad for p in layer.parameters())])
    for ours, exact in zip(*results, strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-5)


def test_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows, odd columns, other dtypes, slices, and everything where the library is faster."""
    weight = draw(32, 48)
    assert products.linear(draw(20, 48), weight, None) is not None
    for x, w in (
        (draw(8, 48), weight),
        (draw(20, 48), draw(31, 48)),
        (draw(20, 48).double(), weight.double()),
        (draw(48, 20).t(), weight),
        (draw(20, 48).bfloat16(), weight.bfloat16()),
    ):
        assert products.linear(x, w, None) is None
    monkeypatch.setattr(products, "_enabled", lambda: False)
    assert products.linear(draw(20, 48), weight, None) is None
    assert not products.multiply_into_(torch.empty(20, 32), draw(20, 48), weight, right_transposed=True)
    torch.testing.assert_close(panels.linear(draw(20, 48), weight), draw(20, 48) @ weight.t())


def test_the_maker(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t: fpu\n", encoding="utf-8")
    assert cpu_vendor(file) == "AuthenticAMD"
    assert cpu_vendor(tmp_path / "none") is None
