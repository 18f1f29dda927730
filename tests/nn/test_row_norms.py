"""Row norms of a matrix with a low-rank update, and what DoRA scales by: against the updated matrix itself, in fp64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from semtune.nn import row_norms
from semtune.nn.row_norms import row_scale, row_square_sums, updated_row_norms

SCALE = 0.7
OUT, IN = 83, 61


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def norms_of(weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return updated_row_norms(row_square_sums(weight, a.dtype), a @ weight.t(), a, b, SCALE)


@pytest.mark.parametrize("rank", [1, 8, 17, 32, 40])
def test_those_of_the_updated_matrix(rank: int) -> None:
    """Ranks that the compiled operator takes, and one above."""
    weight, a, b = draw(OUT, IN), draw(rank, IN), draw(OUT, rank)
    expected = (weight.double() + SCALE * b.double() @ a.double()).norm(dim=1)
    torch.testing.assert_close(norms_of(weight, a, b).double(), expected, rtol=2e-6, atol=0)
    exact = norms_of(weight.double(), a.double(), b.double())
    torch.testing.assert_close(exact, expected, rtol=1e-13, atol=0)


def test_a_product_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled operator reads A Wᵀ in the dtype of the products, and equals the formula."""
    weight, a, b = draw(OUT, IN), draw(16, IN), draw(OUT, 16)
    squares, crossed = row_square_sums(weight, torch.float32), (a @ weight.t()).bfloat16()
    compiled = updated_row_norms(squares, crossed, a, b, SCALE)
    monkeypatch.setattr(row_norms, "supports", lambda *tensors: False)
    torch.testing.assert_close(compiled, updated_row_norms(squares, crossed, a, b, SCALE), rtol=1e-5, atol=0)


def test_without_an_update() -> None:
    """Those of the matrix, whatever A; and the factor that DoRA begins with is 1 to the bit."""
    squares = row_square_sums(draw(OUT, IN), torch.float32)
    a, b = draw(16, IN), torch.zeros(OUT, 16)
    norms = updated_row_norms(squares, a @ draw(OUT, IN).t(), a, b, SCALE)
    torch.testing.assert_close(norms, squares.sqrt(), rtol=2e-7, atol=0)
    assert row_scale(norms, updated_row_norms(squares, 3 * a @ draw(OUT, IN).t(), a, b, SCALE)).eq(1).all()


def test_a_row_of_zeros_and_one_of_no_numbers() -> None:
    squares, a, b = torch.tensor([0.0, torch.nan, 4.0]), draw(2, 5), torch.zeros(3, 2)
    found = updated_row_norms(squares, torch.zeros(2, 3), a, b, SCALE)
    assert found[0] == 0 and found[1].isnan() and found[2] == 2
    assert row_scale(torch.tensor([5.0, 5.0, 5.0]), torch.tensor([0.0, 2.0, 4.0])).tolist() == [0.0, 2.5, 1.25]
