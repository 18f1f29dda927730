"""RMSNorm and SwiGLU against the formulas, and their backward against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from semtune.nn.elementwise import rms_norm, swiglu


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    x = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x.requires_grad_(True)


def test_backwards_equal_finite_differences() -> None:
    x, w = draw(3, 6), draw(6, seed=1)
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 0.1), (x, w))
    assert torch.autograd.gradcheck(swiglu, (draw(3, 6), draw(3, 6, seed=1)))


def test_forwards_equal_torch() -> None:
    x, w = draw(5, 8), draw(8, seed=1)
    torch.testing.assert_close(rms_norm(x, w, 1e-5), F.rms_norm(x, (8,), w, 1e-5), rtol=1e-13, atol=0)
    torch.testing.assert_close(swiglu(x, -x), F.silu(x) * -x, rtol=1e-13, atol=0)


@pytest.mark.parametrize("wants", ["both", "x", "weight"])
def test_only_what_is_wanted_gets_a_gradient(wants: str) -> None:
    x, w = draw(4, 6).requires_grad_(wants != "weight"), draw(6, seed=1).requires_grad_(wants != "x")
    rms_norm(x, w, 1e-5).sum().backward()
    assert (x.grad is not None, w.grad is not None) == (wants != "weight", wants != "x")


def test_bf16_rounds_no_more_than_torch_does() -> None:
    """Both norms in fp32 inside: forward and gradient are as near to the fp64 ones as torch's own."""
    x, w, up = draw(64, 576), draw(576, seed=1), draw(64, 576, seed=2)

    def errors(norm, gate) -> list[float]:
        found = []
        for function, inputs in ((norm, (x, w)), (gate, (x, up))):
            exact = [t.detach().clone().requires_grad_(True) for t in inputs]
            rounded = [t.detach().bfloat16().requires_grad_(True) for t in inputs]
            stock = (lambda a, b: F.rms_norm(a, (576,), b, 1e-5)) if len(found) == 0 else (lambda a, b: F.silu(a) * b)
            stock(*exact).square().sum().backward()
            function(*rounded).square().sum().backward()
            found.append(float((exact[0].grad - rounded[0].grad).norm() / exact[0].grad.norm()))
        return found

    ours = errors(lambda a, b: rms_norm(a, b, 1e-5), swiglu)
    stock = errors(lambda a, b: F.rms_norm(a, (576,), b, 1e-5), lambda a, b: F.silu(a) * b)
    assert all(a < 1.3 * b + 1e-3 for a, b in zip(ours, stock, strict=True)), (ours, stock)
