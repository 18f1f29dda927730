"""Every registered optimizer: it learns, its state survives its file, a plan counts its bytes, it is its paper's."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semtune.errors import OptionError
from semtune.plan.recorder import Recorder
from semtune.registry import OPTIMIZERS
from semtune.training.optimizer import Optimizer
from semtune.training.optimizers.adafactor import ADAFACTOR, AdafactorSettings
from semtune.training.optimizers.apollo import APOLLO, NORM_GROWTH, ApolloSettings, ApolloState
from semtune.training.optimizers.lion import LION
from semtune.training.optimizers.mezo import MEZO, MezoSettings, _seed_of
from semtune.training.optimizers.paged_adamw import PAGED_ADAMW, PagedState
from semtune.training.rule import OptimizerChoice, ParameterGroup
from semtune.training.schedule import Schedule, schedule_factor

ROWS, COLUMNS = 400, 300  # more elements than any rule's least


@pytest.fixture(params=list(OPTIMIZERS))
def rule(request: pytest.FixtureRequest) -> Any:
    if request.param == "paged-adamw" and importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("no bitsandbytes here")
    return OPTIMIZERS.get(request.param)


def parameters(dtype: torch.dtype = torch.float32) -> dict[str, nn.Parameter]:
    """A large matrix and a small vector."""
    generator = torch.Generator().manual_seed(0)
    matrix, vector = torch.randn(ROWS, COLUMNS, generator=generator), torch.randn(COLUMNS, generator=generator)
    return {"matrix": nn.Parameter(matrix.to(dtype)), "vector": nn.Parameter(vector.to(dtype))}


def quadratic(named: dict[str, nn.Parameter]) -> Tensor:
    """Mean squared distance from ones."""
    return torch.stack([((p.float() - 1) ** 2).mean() for p in named.values()]).sum()


def made(rule: Any, named: dict[str, nn.Parameter], *, masters: bool = False, rate: float = 1e-3) -> Optimizer:
    group = ParameterGroup(named, rate, 0.01, master_weights=masters)
    return OptimizerChoice(rule).make([group], Schedule(1000, 0.0))


@pytest.mark.parametrize(
    ("dtype", "masters"), [(torch.float32, False), (torch.bfloat16, True), (torch.float16, True)], ids=str
)
def test_a_step_lowers_a_quadratic(rule: Any, dtype: torch.dtype, masters: bool) -> None:
    torch.manual_seed(1)
    named = parameters(dtype)
    optimizer = made(rule, named, masters=masters, rate=1e-3 if rule.uses_gradients else 0.1)
    before = float(quadratic(named).detach())
    for _ in range(3):
        loss, norm = optimizer.minimise([lambda: quadratic(named)], max_norm=1e9)
        assert math.isfinite(loss)
        assert norm > 0
    assert float(quadratic(named).detach()) < before
    assert all(p.grad is None for p in named.values())


@pytest.mark.parametrize(("dtype", "masters"), [(torch.float32, False), (torch.bfloat16, True)], ids=str)
def test_a_state_survives_its_file_to_the_bit(rule: Any, dtype: torch.dtype, masters: bool) -> None:
    """Three steps; or two, a file, a new optimizer and the third."""
    torch.manual_seed(1)
    named = parameters(dtype)
    straight = made(rule, named, masters=masters)
    for step in range(3):
        if step == 2:
            file = io.BytesIO()
            weights = {name: p.detach().clone() for name, p in named.items()}
            torch.save({"state": straight.state_dict(), "generator": torch.get_rng_state()}, file)
        straight.minimise([lambda: quadratic(named)], 1.0)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = {name: nn.Parameter(weight) for name, weight in weights.items()}
    resumed = made(rule, again, masters=masters)
    resumed.load_state_dict(saved["state"])
    resumed._schedule.step = 2
    torch.set_rng_state(saved["generator"])
    resumed.minimise([lambda: quadratic(again)], 1.0)
    assert all(torch.equal(again[name], p) for name, p in named.items())
    ours, theirs = resumed.state_dict(), straight.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensors in theirs.items():
        assert ours[name].keys() == tensors.keys()
        assert all(torch.equal(ours[name][key], value) for key, value in tensors.items()), name


@pytest.mark.parametrize(("dtype", "masters"), [(torch.float32, False), (torch.bfloat16, True)], ids=str)
def test_a_plan_counts_the_bytes_of_the_state(rule: Any, dtype: torch.dtype, masters: bool) -> None:
    """Bytes alive after two steps beyond the weights: on fake tensors as on real ones, and those of the state."""
    found = []
    for fake in (True, False):
        recorder = Recorder(round_to=1)
        with recorder.recording(fake=fake):
            recorder.begin("load")
            named = {
                "matrix": nn.Parameter(torch.ones(ROWS, COLUMNS, dtype=dtype)),
                "vector": nn.Parameter(torch.ones(COLUMNS, dtype=dtype)),
            }
            weights = recorder.live_bytes
            optimizer = made(rule, named, masters=masters)
            for _ in range(2):
                optimizer.minimise([lambda named=named: quadratic(named)], 1.0)
            found.append(recorder.live_bytes - weights)
    stored = [x for tensors in optimizer.state_dict().values() for name, x in tensors.items() if name != "step"]
    state_bytes = sum(x.numel() * x.element_size() for x in stored)
    assert found[0] == found[1]
    assert found[0] == pytest.approx(state_bytes, abs=256)  # beside it a few scalars: steps, the clip factor


def test_an_optimizers_settings_are_options(rule: Any) -> None:
    for field in dataclasses.fields(rule.Settings):
        assert field.metadata["help"], field.name


def gradients(steps: int, shape: tuple[int, ...]) -> Iterator[Tensor]:
    for step in range(steps):
        yield torch.randn(shape, generator=torch.Generator().manual_seed(step), dtype=torch.float64)


def stepped(choice: OptimizerChoice, start: Tensor, *, rate: float, decay: float, steps: int) -> Iterator[Tensor]:
    """The weight after each step with the gradients above, scaled by 1/2 as if clipped, in fp64."""
    weight = nn.Parameter(start.clone())
    (states,) = choice.of(ParameterGroup({"weight": weight}, rate, decay))
    for grad in gradients(steps, tuple(start.shape)):
        weight.grad = 2 * grad
        states.accumulate()
        states.step(rate, torch.tensor(0.5, dtype=torch.float64))
        yield weight.detach()


@pytest.mark.parametrize("shape", [(7,), (5, 9), (9, 5)], ids=str)
def test_lion_follows_its_paper(shape: tuple[int, ...]) -> None:
    """Chen et al. 2023, algorithm 2, in fp64."""
    start = torch.randn(shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    expected, momentum = start.clone(), torch.zeros_like(start)
    found = stepped(OptimizerChoice(LION), start, rate=0.01, decay=0.1, steps=5)
    for grad, weight in zip(gradients(5, shape), found, strict=True):
        direction = torch.sign(0.9 * momentum + (1 - 0.9) * grad)
        expected = expected - 0.01 * (direction + 0.1 * expected)
        momentum = 0.99 * momentum + (1 - 0.99) * grad
        torch.testing.assert_close(weight, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(7,), (5, 9), (9, 5), (4, 3, 6)], ids=str)
@pytest.mark.parametrize("start_size", [1.0, 1e-5], ids=["usual", "tiny"])
def test_adafactor_with_relative_steps_is_torchs(shape: tuple[int, ...], start_size: float) -> None:
    start = torch.randn(shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64) * start_size
    theirs = nn.Parameter(start.clone())
    reference = torch.optim.Adafactor([theirs], lr=0.02, weight_decay=0.1, d=1.2, beta2_decay=-0.7)
    settings = AdafactorSettings(scale_parameter=True, decay_rate=-0.7, clip_threshold=1.2)
    found = stepped(OptimizerChoice(ADAFACTOR, settings), start, rate=0.02, decay=0.1, steps=5)
    for grad, weight in zip(gradients(5, shape), found, strict=True):
        theirs.grad = grad.clone()
        reference.step()
        torch.testing.assert_close(weight, theirs.detach(), rtol=1e-10, atol=1e-12 * start_size)


def test_adafactors_default_step_has_the_rms_of_the_learning_rate() -> None:
    start = torch.randn(30, 40, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    (weight,) = stepped(OptimizerChoice(ADAFACTOR), start, rate=0.02, decay=0.0, steps=1)
    assert float((weight - start).square().mean().sqrt()) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (9, 9)], ids=str)
@pytest.mark.parametrize("scale_by", ["channel", "tensor"])
def test_apollo_follows_its_paper(shape: tuple[int, int], scale_by: Any) -> None:
    """Zhu et al. 2024, algorithm 1 with the norm-growth limiter, in fp64; the projection changes in between."""
    rank, scale, gap = 3, 1.7, 2
    start = torch.randn(shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    weight = nn.Parameter(start.clone())
    choice = OptimizerChoice(APOLLO, ApolloSettings(rank=rank, scale=scale, scale_by=scale_by, update_gap=gap))
    (states,) = choice.of(ParameterGroup({"weight": weight}, 0.01, 0.1))
    state = states.states["weight"]
    assert isinstance(state, ApolloState)
    expected, wide = start.clone(), shape[0] <= shape[1]
    mean = square = torch.zeros(rank, max(shape), dtype=torch.float64)
    last, projections = 0.0, []
    for t, grad in enumerate(gradients(5, shape), 1):
        weight.grad = grad.clone()
        states.accumulate()
        states.step(0.01, torch.tensor(1.0))
        projections.append(state.projection())
        g = grad if wide else grad.t()  # (m, n), m ≤ n
        projected = projections[-1] @ g
        mean, square = 0.9 * mean + 0.1 * projected, 0.999 * square + 0.001 * projected**2
        adapted = mean / (1 - 0.9**t) / ((square / (1 - 0.999**t)).sqrt() + 1e-8)
        if scale_by == "channel":
            factors = adapted.norm(dim=0) / (projected.norm(dim=0) + 1e-8)
        else:
            factors = adapted.norm() / (projected.norm() + 1e-8)
        update = g * factors
        if last:
            update = update / (max(float(update.norm()) / (last + 1e-8), NORM_GROWTH) / NORM_GROWTH)
        last = float(update.norm())
        expected = expected * (1 - 0.01 * 0.1) - 0.01 * scale * (update if wide else update.t())
        torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=1e-11)
    changes = [not torch.equal(a, b) for a, b in itertools.pairwise(projections)]
    assert changes == [False, True, False, True]


def test_apollos_projection_has_the_papers_variance_and_default_steps_are_as_large_as_adamws() -> None:
    torch.manual_seed(0)
    start = torch.zeros(128, 512, dtype=torch.float64)
    weight, reference = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    (states,) = OptimizerChoice(APOLLO).of(ParameterGroup({"weight": weight}, 1.0))
    adamw = torch.optim.AdamW([reference], lr=0.01, weight_decay=0.0)
    weight.grad = torch.randn(128, 512, dtype=torch.float64)
    reference.grad = weight.grad.clone()
    states.accumulate()
    states.step(0.01, torch.tensor(1.0))
    adamw.step()
    rank = ApolloSettings().rank
    assert float(states.states["weight"].projection().var()) == pytest.approx(1 / rank, rel=0.1)
    assert float(weight.detach().norm() / reference.detach().norm()) == pytest.approx(1.0, rel=0.1)


def test_apollo_stores_moments_of_its_rank_alone() -> None:
    (states, _) = OptimizerChoice(APOLLO).of(ParameterGroup(parameters(), 1.0))
    stored = sum(x.numel() for x in states.states["matrix"].tensors().values())
    assert stored == 2 * ApolloSettings().rank * ROWS + 2  # ROWS is the larger dimension; a norm and a seed


def test_apollo_with_nothing_to_project_is_refused() -> None:
    narrow = {"a": nn.Parameter(torch.zeros(8, 100)), "b": nn.Parameter(torch.zeros(100))}
    with pytest.raises(OptionError, match="rank"):
        OptimizerChoice(APOLLO).of(ParameterGroup(narrow, 1.0))


def test_paged_adamw_follows_the_equations() -> None:
    """bitsandbytes' operator as it is called, against algorithm 2 of Loshchilov & Hutter 2017 in fp64."""
    pytest.importorskip("bitsandbytes")
    for dtype, masters in ((torch.float32, False), (torch.bfloat16, True)):
        weight = nn.Parameter(parameters(dtype)["matrix"].detach().clone())
        (states,) = OptimizerChoice(PAGED_ADAMW).of(ParameterGroup({"w": weight}, 0.01, 0.1, master_weights=masters))
        state = states.states["w"]
        assert isinstance(state, PagedState)
        expected = state.master().double().clone()
        mean = square = torch.zeros(ROWS * COLUMNS, dtype=torch.float64)
        for t, grad in enumerate(gradients(4, (ROWS, COLUMNS)), 1):
            weight.grad = grad.to(dtype)
            exact = 0.5 * weight.grad.double().flatten()
            states.accumulate()
            states.step(0.01, torch.tensor(0.5))
            mean, square = 0.9 * mean + 0.1 * exact, 0.999 * square + 0.001 * exact**2
            adapted = mean / (1 - 0.9**t) / ((square / (1 - 0.999**t)).sqrt() + 1e-8)
            expected = expected * (1 - 0.01 * 0.1) - 0.01 * adapted
            torch.testing.assert_close(state.master().double(), expected, rtol=1e-5, atol=1e-6)


def loss_of(named: dict[str, nn.Parameter]) -> Tensor:
    """Not a quadratic, so that the two losses differ by more than the slope."""
    return (named["a"].sin() @ named["b"]).sum() + (named["b"] ** 3).sum()


def small() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(3)
    shapes = {"a": (4, 5), "b": (5,)}
    return {n: nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64)) for n, s in shapes.items()}


def test_mezo_follows_its_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Malladi et al. 2023, algorithm 1, in fp64, with directions drawn again from their seeds, and the schedule."""
    named, rate, decay, epsilon = small(), 0.01, 0.1, 1e-3
    expected = {name: p.detach().clone() for name, p in named.items()}
    seeds = iter(range(5))
    monkeypatch.setattr("semtune.training.optimizers.mezo.draw_seed", lambda: next(seeds))
    groups = [ParameterGroup({"a": named["a"]}, rate, decay), ParameterGroup({"b": named["b"]}, 2 * rate)]
    optimizer = OptimizerChoice(MEZO, MezoSettings(epsilon=epsilon)).make(groups, Schedule(10, 0.5))
    for t in range(5):
        z = {}
        for index, name in enumerate(named):
            generator = torch.Generator().manual_seed(_seed_of(t, index))
            numel = expected[name].numel()
            z[name] = torch.randn(numel, generator=generator, dtype=torch.float64).view_as(expected[name])
        above, below = (float(loss_of({n: w + sign * epsilon * z[n] for n, w in expected.items()})) for sign in (1, -1))
        slope = (above - below) / (2 * epsilon)
        loss, norm = optimizer.minimise([lambda: loss_of(named) / 2, lambda: loss_of(named) / 2], max_norm=2.0)
        assert loss == pytest.approx((above + below) / 2, abs=1e-9)
        assert norm == pytest.approx(abs(slope), abs=1e-6)
        clipped = slope * min(1.0, 2.0 / (abs(slope) + 1e-6))
        now = rate * schedule_factor(t, 5, 10)
        expected["a"] = expected["a"] * (1 - now * decay) - now * clipped * z["a"]
        expected["b"] = expected["b"] - 2 * now * clipped * z["b"]
        for name, p in named.items():
            torch.testing.assert_close(p.detach(), expected[name], rtol=0, atol=1e-8)


def test_mezos_steps_are_the_gradients_on_average() -> None:
    named = small()
    gradient = torch.autograd.grad(loss_of(named), list(named.values()))
    start = {name: p.detach().clone() for name, p in named.items()}
    optimizer = OptimizerChoice(MEZO).make([ParameterGroup(named, 1.0)], Schedule(10**9, 0.0))
    torch.manual_seed(0)
    total, squares, draws = [torch.zeros_like(p) for p in named.values()], 0.0, 600
    for _ in range(draws):
        for name, p in named.items():
            p.data.copy_(start[name])
        _, norm = optimizer.minimise([lambda: loss_of(named)], max_norm=1e9)
        squares += norm**2 / draws
        for moved, (name, p) in zip(total, named.items(), strict=True):
            moved += (start[name] - p.detach()) / draws
    exact, found = torch.cat([g.flatten() for g in gradient]), torch.cat([m.flatten() for m in total])
    assert float((found - exact).norm() / exact.norm()) < 0.3  # sqrt(25 / 600) is 0.2
    assert squares**0.5 == pytest.approx(float(exact.norm()), rel=0.2)


def test_mezo_draws_the_same_dropout_twice_and_leaves_no_gradient() -> None:
    named = {"w": nn.Parameter(torch.zeros(50, dtype=torch.float64))}
    optimizer = OptimizerChoice(MEZO).make([ParameterGroup(named, 1e-9)], Schedule(10, 0.0))
    masks = []

    def loss() -> Tensor:
        masks.append(torch.rand(8))
        return named["w"].sum()

    for _ in range(2):
        optimizer.minimise([loss], 1.0)
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[2], masks[3])
    assert not torch.equal(masks[0], masks[2])
    assert named["w"].grad is None


def test_a_readouts_parameters_keep_adamw_but_without_gradients(rule: Any) -> None:
    head = parameters()
    own = ParameterGroup({f"head.{name}": p for name, p in head.items()}, 1e-3, adamw=True)
    optimizer = OptimizerChoice(rule).make([ParameterGroup(parameters(), 1e-3), own], Schedule(10, 0.0))
    optimizer.minimise([lambda: quadratic(head)], 1.0)
    kept = optimizer.state_dict()["head.matrix"].keys()
    assert kept == ({"step", "exp_avg", "exp_avg_sq"} if rule.uses_gradients else {"step"})


@pytest.mark.gpu
@pytest.mark.parametrize("masters", [False, True])
def test_paged_moments_on_a_gpu_update_as_adamws(masters: bool) -> None:
    pytest.importorskip("bitsandbytes")
    dtype, found = torch.bfloat16 if masters else torch.float32, []
    for name in ("adamw", "paged-adamw"):
        named = {n: nn.Parameter(p.detach().cuda()) for n, p in parameters(dtype).items()}
        optimizer = made(OPTIMIZERS.get(name), named, masters=masters)
        for _ in range(4):
            optimizer.minimise([lambda named=named: quadratic(named)], 1.0)
        state = {key: x.float().cpu().flatten() for key, x in optimizer.state_dict()["matrix"].items()}
        found.append((named["matrix"].detach().cpu(), state))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-2 if masters else 1e-5, atol=1e-4)
    for moment in ("exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(found[1][1][moment], found[0][1][moment], rtol=5e-3, atol=1e-8)
