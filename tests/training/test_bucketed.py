"""AdamW over masters in buckets against the update of each parameter by itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from semtune.training import bucketed
from semtune.training.bucketed import bucketed_masters
from semtune.training.masters import masters, split

SHAPES = {"a": (3, 5), "b": (7,), "c": (4, 4), "d": (1,), "e": (29,)}


def parameters() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return {name: nn.Parameter(torch.randn(shape, generator=generator).bfloat16()) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("elements", [4, 16, 1 << 24])
@pytest.mark.parametrize("missing", [(), ("b",), ("a", "e")])
def test_buckets_update_as_each_parameter_by_itself(
    elements: int, missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over buckets that cut a parameter, and with parameters that lack a gradient in some steps."""
    monkeypatch.setattr(bucketed, "BUCKET_ELEMENTS", elements)
    expected, found = parameters(), parameters()
    alone, together = masters(expected, 0.1), bucketed_masters(found, 0.1)
    generator = torch.Generator().manual_seed(2)
    for step in range(5):
        for name, shape in SHAPES.items():
            grad = torch.randn(shape, generator=generator).bfloat16()
            for side in (expected, found):
                side[name].grad = None if step % 2 and name in missing else grad.clone()
        for states in (alone, together):
            states.accumulate()
        torch.testing.assert_close(together.square_norm(), alone.square_norm(), rtol=1e-6, atol=0)
        for states in (alone, together):
            states.step(0.01, torch.tensor(0.7, dtype=torch.float64))
        for name in SHAPES:
            torch.testing.assert_close(
                together.states[name].master(), alone.states[name].master(), rtol=1e-5, atol=2e-6
            )
            assert torch.equal(found[name].detach().flatten(), split(together.states[name].master())[0])
            assert together.states[name].grad is None
    saved, other = together.state_dict(), alone.state_dict()
    for name in SHAPES:
        assert saved[name].keys() == other[name].keys()
        assert torch.equal(saved[name]["step"], other[name]["step"])
        # torch's fused kernel computes 1 - beta2 in fp32
        torch.testing.assert_close(saved[name]["exp_avg_sq"], other[name]["exp_avg_sq"], rtol=3e-5, atol=0)


def test_one_parameter_is_updated_as_in_a_whole_step() -> None:
    """As the update that is fused into the backward calls it."""
    whole, single = parameters(), parameters()
    at_once, one_by_one = bucketed_masters(whole, 0.0), bucketed_masters(single, 0.0)
    for name in SHAPES:
        whole[name].grad, single[name].grad = torch.ones_like(whole[name]), torch.ones_like(single[name])
    at_once.accumulate()
    at_once.step(0.01, torch.ones(()))
    for name in reversed(SHAPES):
        one_by_one.take(name)
        one_by_one.step_one(name, 0.01, torch.ones(()))
    for name in SHAPES:
        assert torch.equal(whole[name], single[name])


@pytest.mark.gpu
def test_masters_on_a_gpu_are_updated_as_on_the_cpu() -> None:
    expected, found = parameters(), {n: nn.Parameter(p.detach().cuda()) for n, p in parameters().items()}
    on_cpu, on_gpu = masters(expected, 0.1), bucketed_masters(found, 0.1)
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        for name, shape in SHAPES.items():
            grad = torch.randn(shape, generator=generator).bfloat16()
            expected[name].grad, found[name].grad = grad, grad.cuda()
        for states in (on_cpu, on_gpu):
            states.accumulate()
        torch.testing.assert_close(on_gpu.square_norm().cpu(), on_cpu.square_norm(), rtol=1e-6, atol=0)
        on_cpu.step(0.01, torch.tensor(0.7, dtype=torch.float64))
        on_gpu.step(0.01, torch.tensor(0.7, dtype=torch.float64, device="cuda"))
    for name in SHAPES:
        torch.testing.assert_close(
            on_gpu.states[name].master().cpu(), on_cpu.states[name].master(), rtol=1e-5, atol=2e-6
        )
