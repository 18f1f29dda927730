"""8-bit moments: their data types against bitsandbytes, updates against the equations, what they save and cost."""

from __future__ import annotations

import bitsandbytes.functional as bnb
import pytest
import torch
from torch import nn

from semtune.nn.blockwise import BLOCK, dequantize, dynamic_levels, dynamic_type, quantize
from semtune.registry import OPTIMIZERS
from semtune.training.eight_bit import EightBitState, eight_bit
from semtune.training.masters import BETAS, EPS
from semtune.training.optimizer import Optimizer
from semtune.training.rule import OptimizerChoice, ParameterGroup
from semtune.training.schedule import Schedule


@pytest.mark.parametrize("signed", [True, False])
def test_levels_are_those_of_bitsandbytes(signed: bool) -> None:
    assert torch.equal(torch.tensor(dynamic_levels(signed=signed)), bnb.create_dynamic_map(signed=signed))


@pytest.mark.parametrize("signed", [True, False])
def test_every_number_gets_the_nearest_level(signed: bool) -> None:
    """Over more decades than the type has; found by trying all levels, in fp64."""
    kind = dynamic_type(signed=signed)
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(40, BLOCK, generator=generator) * 10.0 ** (-9 * torch.rand(40, BLOCK, generator=generator))
    values = values if signed else values.abs()
    codes, scales = quantize(values, kind.middles)
    quotients = values.double() / values.abs().amax(dim=1, keepdim=True)
    distances = (quotients.unsqueeze(-1) - kind.levels.double()).abs()
    chosen = distances.gather(-1, codes.long().unsqueeze(-1)).squeeze(-1)
    assert torch.all(chosen <= distances.amin(dim=-1) + 1e-8)
    again = dequantize(codes, scales, kind.levels)
    large = quotients.abs() > 0.1
    assert ((again - values).abs() / values.abs())[large].max() < 0.08


def test_a_block_of_zeros_stays_zero() -> None:
    for signed in (True, False):
        kind = dynamic_type(signed=signed)
        codes, scales = quantize(torch.zeros(2, BLOCK), kind.middles)
        assert torch.equal(dequantize(codes, scales, kind.levels), torch.zeros(2, BLOCK))
        assert int(codes[0, 0]) == kind.zero


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_an_update_follows_the_equations(dtype: torch.dtype) -> None:
    """From whatever the state holds: unpacked, updated in fp64 as algorithm 2 of Loshchilov & Hutter 2017 says."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(4500, dtype=dtype))
    optimizer = eight_bit({"weight": weight}, 0.1, master_weights=True)
    parameter_state = optimizer.states["weight"]
    assert isinstance(parameter_state, EightBitState)
    for step in range(1, 4):
        grad = torch.randn(4500, dtype=dtype)
        before = parameter_state.master().double().clone()
        mean, square = (unpacked(parameter_state, name, 4500) for name in ("mean", "square"))
        weight.grad = grad.clone()
        optimizer.accumulate()
        optimizer.step(0.01, torch.tensor(0.5))
        grad64 = 0.5 * grad.double()
        mean = BETAS[0] * mean + (1 - BETAS[0]) * grad64
        square = BETAS[1] * square + (1 - BETAS[1]) * grad64**2
        corrected = (mean / (1 - BETAS[0] ** step)) / ((square / (1 - BETAS[1] ** step)).sqrt() + EPS)
        expected = before * (1 - 0.01 * 0.1) - 0.01 * corrected
        torch.testing.assert_close(parameter_state.master().double(), expected, rtol=2e-5, atol=2e-6)
        torch.testing.assert_close(weight.detach(), parameter_state.master().to(dtype))
        torch.testing.assert_close(
            unpacked(parameter_state, "mean", 4500), mean, rtol=0.2, atol=0.01 * float(mean.abs().max())
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_steps_are_those_of_bitsandbytes(dtype: torch.dtype) -> None:
    """But for quotients within 1.5e-5 of each other or of zero, which its table of cells does not tell apart."""
    from bitsandbytes.optim import AdamW8bit

    start = torch.randn(1 << 16, generator=torch.Generator().manual_seed(9)).to(dtype)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer = eight_bit({"weight": ours}, 0.1, master_weights=False)
    reference = AdamW8bit([theirs], lr=1e-2, betas=BETAS, eps=EPS, weight_decay=0.1)
    for step in range(3):
        grad = torch.randn(1 << 16, generator=torch.Generator().manual_seed(step)).to(dtype)
        ours.grad, theirs.grad = grad.clone(), grad.clone()
        optimizer.accumulate()
        optimizer.step(1e-2, torch.tensor(1.0))
        reference.step()
    moved = (theirs.detach() - start).float().abs().mean()
    assert (ours.detach() - theirs.detach()).float().abs().mean() < 1e-3 * moved
    state, parameter_state = reference.state[theirs], optimizer.states["weight"]
    assert isinstance(parameter_state, EightBitState)
    for codes, name in ((parameter_state.mean_codes, "state1"), (parameter_state.square_codes, "state2")):
        assert (codes.view(-1) != state[name].view(-1)).float().mean() < 0.02


def unpacked(parameter_state: EightBitState, name: str, count: int) -> torch.Tensor:
    """A moment in fp64, (count,)."""
    levels = dynamic_type(signed=name == "mean").levels
    return (
        dequantize(getattr(parameter_state, f"{name}_codes"), getattr(parameter_state, f"{name}_scales"), levels)
        .view(-1)[:count]
        .double()
    )


def test_a_small_second_moment_is_not_lost() -> None:
    """Were it zero, the first moment over it would be divided by EPS alone and the weight would leap."""
    weight = nn.Parameter(torch.zeros(4096, dtype=torch.bfloat16))
    optimizer = eight_bit({"weight": weight}, 0.0, master_weights=True)
    grad = torch.full((4096,), 1e-4)
    grad[::256] = 1.0  # the others' squares are 1e-8 of it
    for step in range(5):
        weight.grad = grad.bfloat16() if step == 0 else torch.zeros(4096, dtype=torch.bfloat16)
        optimizer.accumulate()
        optimizer.step(1e-3, torch.tensor(1.0))
    assert weight.detach().abs().max() < 0.01


def test_state_takes_a_quarter_of_its_bytes() -> None:
    weight = nn.Parameter(torch.zeros(1024, 1024, dtype=torch.bfloat16))
    parameter_state = eight_bit({"weight": weight}, 0.0, master_weights=True).states["weight"]
    state = [x for x in vars(parameter_state).values() if isinstance(x, torch.Tensor) and x is not weight]
    per_number = sum(x.numel() * x.element_size() for x in state) / weight.numel()
    assert per_number == pytest.approx(2 + 2 * (1 + 4 / BLOCK))  # the lower half of the master, two moments


def test_the_optimizer_packs_what_is_large_and_learns_the_same() -> None:
    """Least squares: both end at the same loss, up to the packing's error."""

    def loss_after(eight: bool) -> float:
        torch.manual_seed(0)
        weight, bias = nn.Parameter(torch.zeros(64, 96).bfloat16()), nn.Parameter(torch.zeros(64))
        truth, x = torch.randn(64, 96) / 10, torch.randn(256, 96)
        y = x @ truth.t() + 0.3
        group = ParameterGroup({"weight": weight, "bias": bias}, 3e-3, master_weights=True)
        choice = OptimizerChoice(OPTIMIZERS.get("adamw-8bit" if eight else "adamw"))
        optimizer = Optimizer([group], Schedule(200, 0.1), choice)
        for _ in range(200):
            loss = ((x @ weight.float().t() + bias - y) ** 2).mean()
            loss.backward()
            optimizer.accumulate()
            optimizer.clip(1.0)
            optimizer.step()
        assert [
            type(parameter_state) is EightBitState for parameter_state in optimizer._states[0][0].states.values()
        ] == [eight]
        return float(loss.detach())

    exact, packed = loss_after(False), loss_after(True)
    assert exact < 0.02
    assert packed == pytest.approx(exact, abs=0.005)


@pytest.mark.gpu
def test_on_a_gpu_as_on_a_cpu() -> None:
    found = []
    for device in ("cpu", "cuda"):
        weight = nn.Parameter(torch.randn(4500, generator=torch.Generator().manual_seed(0)).to(device))
        optimizer = eight_bit({"weight": weight}, 0.1, master_weights=True)
        for step in range(3):
            weight.grad = torch.randn(4500, generator=torch.Generator().manual_seed(step)).to(device)
            optimizer.accumulate()
            optimizer.step(0.01, torch.tensor(0.5))
        found.append(weight.detach().cpu())
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-3)
