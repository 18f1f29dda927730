"""AdamW against its equations, the schedule, and what fp32 masters are for."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from semtune.training.masters import join, split
from semtune.training.optimizer import Optimizer
from semtune.training.rule import ParameterGroup
from semtune.training.schedule import Schedule, schedule_factor


def test_steps_follow_the_equations_of_the_paper() -> None:
    """Loshchilov & Hutter 2017, algorithm 2, in fp64, with decay decoupled and the schedule on both."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(5, dtype=torch.float64))
    expected, first, second = weight.detach().clone(), torch.zeros(5).double(), torch.zeros(5).double()
    rate, decay, steps = 0.05, 0.1, 6
    optimizer = Optimizer([ParameterGroup({"weight": weight}, rate, decay)], Schedule(steps, 0.5))
    for t in range(1, steps + 1):
        grad = torch.randn(5, dtype=torch.float64)
        weight.grad = grad.clone()
        optimizer.accumulate()
        optimizer.step()
        now = rate * schedule_factor(t - 1, 3, steps)
        first = 0.9 * first + 0.1 * grad
        second = 0.999 * second + 0.001 * grad**2
        corrected = (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
        expected = expected - now * decay * expected - now * corrected
        torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=1e-12)


def test_schedule_warms_up_then_falls_to_nothing() -> None:
    factors = [schedule_factor(step, 10, 100) for step in range(101)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factors[55] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.5)))
    assert all(later <= earlier for earlier, later in itertools.pairwise(factors[10:]))
    assert factors[100] == 0.0


def test_masters_keep_updates_that_bf16_loses() -> None:
    """A bf16 weight of 1 cannot change by 1e-4; its fp32 master adds the changes up."""

    def after(steps: int, master_weights: bool) -> float:
        weight = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
        optimizer = Optimizer(
            [ParameterGroup({"weight": weight}, 1e-4, master_weights=master_weights)], Schedule(10**9, 0.0)
        )
        for _ in range(steps):
            weight.grad = torch.ones_like(weight)
            optimizer.accumulate()
            optimizer.step()
        return float(weight.detach())

    assert after(200, master_weights=False) == 1.0
    assert after(200, master_weights=True) == pytest.approx(0.98, abs=0.004)


def test_a_master_is_its_weight_and_a_remainder_to_the_bit() -> None:
    """Ties, signs, zeros, denormals and the next exponent included; the weight is a nearest bf16."""
    edges = torch.tensor(
        [0x3F800000, 0x3F808000, 0x3F818000, 0x3F807FFF, 0x3FFFFFFF, 0x00000001, 0x00008000, 0, -(2**31)]
    )
    some = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    masters = torch.cat([edges.to(torch.int32).view(torch.float32), some])
    masters = torch.cat([masters, -masters])
    weight, residual_bits = split(masters)
    assert torch.equal(join(weight, residual_bits).view(torch.int32), masters.view(torch.int32))
    distance = (weight.double() - masters.double()).abs()
    assert torch.equal(distance, (masters.bfloat16().double() - masters.double()).abs())


def test_half_precision_weights_have_masters_too() -> None:
    """fp16 is no upper half of fp32: there the whole master is kept."""
    weight = nn.Parameter(torch.ones(3, dtype=torch.float16))
    optimizer = Optimizer([ParameterGroup({"weight": weight}, 1e-4, master_weights=True)], Schedule(10**9, 0.0))
    for _ in range(200):
        weight.grad = torch.ones_like(weight)
        optimizer.accumulate()
        optimizer.step()
    assert float(weight.detach()[0]) == pytest.approx(0.98, abs=0.001)


def test_gradients_of_micro_batches_add_up_in_fp32() -> None:
    """256 + 1 is not a bf16 number: adding in bf16 would lose the one."""
    weight = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    optimizer = Optimizer([ParameterGroup({"weight": weight}, 1e-4, master_weights=True)], Schedule(1, 0.0))
    for grad in (256.0, 1.0):
        weight.grad = torch.full_like(weight, grad)
        optimizer.accumulate()
    assert float(optimizer.clip(math.inf)) == 257.0
    assert weight.grad is None


def test_clipping_is_over_all_gradients_together() -> None:
    weights = [nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2)]
    optimizer = Optimizer(
        [ParameterGroup({name: w}, 1.0) for name, w in zip("ab", weights, strict=True)], Schedule(1, 0.0)
    )
    weights[0].grad, weights[1].grad = torch.tensor([3.0]).double(), torch.tensor([4.0]).double()
    assert float(optimizer.clip(1.0)) == pytest.approx(5.0)
    assert [float(w.grad) for w in weights] == pytest.approx([0.6, 0.8], rel=1e-5)
